package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestStrangers: a node that comes back with another secret, or with a certificate of another
// authority, is not admitted until that is fixed. Some node says what to do, and the others continue.
func TestStrangers(t *testing.T) {
	t.Parallel()
	t.Run("secret", func(t *testing.T) {
		t.Parallel()
		c := newCluster(t, options{})
		other := filepath.Join(c.dir, "other-secret")
		if err := os.WriteFile(other, []byte("fedcba9876543210fedcba9876543210\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		refuses(t, c, []string{"CLUSTER_SECRET_FILE=" + other}, "give all nodes the same CLUSTER_SECRET_FILE")
	})
	for _, name := range []string{"authority", "no-certificate"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := layOut(t, options{})
			ours, theirs := newAuthority(t, c.dir, "ours"), newAuthority(t, c.dir, "theirs")
			for _, n := range c.nodes {
				n.env = append(n.env, ours.settings(t, n.name)...)
			}
			c.start()
			if name == "authority" {
				refuses(t, c, theirs.settings(t, "c"), "from the authority in CLUSTER_TLS_CA")
			} else {
				refuses(t, c, []string{"CLUSTER_TLS_CERT=", "CLUSTER_TLS_KEY=", "CLUSTER_TLS_CA="}, "nodes do not agree on TLS")
			}
		})
	}
}

// refuses restarts node c of a running cluster with other settings, and checks that the others
// continue without it and that the log of some node has the hint. Then it restarts c with its own
// settings, and checks that it is back.
func refuses(t *testing.T, c *cluster, settings []string, hint string) {
	t.Helper()
	h, n := newHistory(), c.node("c")
	r, k := &round{t, c, h}, begin(c, h, steady)
	r.goOn(c.nodes...)
	n.kill()
	own := n.env
	n.env = append(slices.Clone(own), settings...)
	n.launch()
	eventually(t, "nodes say what to do: "+hint, func() bool {
		for _, n := range c.nodes {
			if said, _ := os.ReadFile(n.log); strings.Contains(string(said), hint) {
				return true
			}
		}
		return false
	})
	r.goOn(c.node("a"), c.node("b"))
	time.Sleep(2 * time.Second) // long enough for c to join
	r.goOn(c.node("a"), c.node("b"))
	select {
	case <-n.running().listening:
		t.Error("node c has joined")
	default:
	}
	n.kill()
	n.env = own
	n.restart()
	r.goOn(n)
	k.halt()
	if err := h.verify(c, stale); err != nil {
		t.Error(err)
	}
	k.finish()
}

// authority issues the certificates of nodes.
type authority struct {
	dir, name string
	cert      *x509.Certificate
	key       *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, dir, name string) *authority {
	t.Helper()
	a := &authority{dir: dir, name: name}
	a.key = newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:  x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.write(t, "ca", "CERTIFICATE", der)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// write writes a PEM file and returns its path.
func (a *authority) write(t *testing.T, what, kind string, der []byte) string {
	t.Helper()
	path := a.path(what)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (a *authority) path(what string) string { return filepath.Join(a.dir, a.name+"-"+what+".pem") }

// settings returns the settings of a node with a certificate of a.
func (a *authority) settings(t *testing.T, node string) []string {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: node},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(127, 0, 0, 2), net.IPv4(127, 0, 0, 3)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return []string{
		"CLUSTER_TLS_CERT=" + a.write(t, node, "CERTIFICATE", der),
		"CLUSTER_TLS_KEY=" + a.write(t, node+"-key", "PRIVATE KEY", private),
		"CLUSTER_TLS_CA=" + a.path("ca"),
	}
}
