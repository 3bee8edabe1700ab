package main

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"strings"
)

// binary is a binary of a release.
type binary struct {
	name    string
	sum     string // SHA-256 in hexadecimal
	modules []module
}

// bom is a bill of materials: the part of CycloneDX 1.5 that says which binary has which modules,
// https://cyclonedx.org/docs/1.5/json/.
type bom struct {
	Format       string       `json:"bomFormat"`
	Spec         string       `json:"specVersion"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version,omitempty"`
	Licences   []licence  `json:"licenses,omitempty"`
	PURL       string     `json:"purl,omitempty"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

// ownLicence is the SPDX identifier of the licence in the file LICENSE.
const ownLicence = "MIT"

type licence struct {
	Licence struct {
		ID string `json:"id"`
	} `json:"license"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn,omitempty"`
}

// bom is the bill of the release: its binaries, and the modules of each.
func (r *release) bom() bom {
	own := component{Type: "application", Ref: "tcp-log-server", Name: "tcp-log-server", Version: r.version, Licences: make([]licence, 1)}
	own.Licences[0].Licence.ID = ownLicence
	b := bom{Format: "CycloneDX", Spec: "1.5", Version: 1, Metadata: metadata{own}}
	files := dependency{Ref: own.Ref}
	var uses []dependency
	for _, bin := range r.binaries {
		c := component{Type: "file", Ref: bin.name, Name: bin.name, Version: r.version, Hashes: []hash{{"SHA-256", bin.sum}}}
		b.Components = append(b.Components, c)
		files.DependsOn = append(files.DependsOn, c.Ref)
		use := dependency{Ref: c.Ref}
		for _, m := range bin.modules {
			use.DependsOn = append(use.DependsOn, m.purl())
		}
		uses = append(uses, use)
	}
	b.Dependencies = append([]dependency{files}, uses...)
	for _, m := range r.modules {
		c := component{Type: "library", Ref: m.purl(), Name: m.path, Version: m.version, PURL: m.purl()}
		if m.sum != "" {
			c.Properties = []property{{"go:sum", m.sum}} // as in go.sum: not the hash of one file
		}
		b.Components = append(b.Components, c)
		b.Dependencies = append(b.Dependencies, dependency{Ref: c.Ref})
	}
	return b
}

// purl is the module's package URL.
func (m module) purl() string {
	return "pkg:golang/" + strings.ToLower(m.path) + "@" + strings.ReplaceAll(m.version, "+", "%2B")
}

// sum is the SHA-256 of a file.
func sum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
