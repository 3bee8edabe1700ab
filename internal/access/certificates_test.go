package access_test

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tcp-log-server/internal/access"
	"tcp-log-server/internal/access/accesstest"
)

// shake makes one handshake over loopback and returns the errors of both sides. A client learns
// only later whether its certificate was accepted, so it reads.
func shake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	done := make(chan error, 1)
	go func() {
		nc, err := ln.Accept()
		if err != nil {
			done <- err
			return
		}
		defer nc.Close()
		c := tls.Server(nc, server)
		err = c.Handshake()
		if err == nil {
			c.Write([]byte("x"))
		}
		done <- err
	}()
	c, err := tls.Dial("tcp", ln.Addr().String(), client)
	if err == nil {
		defer c.Close()
		_, err = c.Read(make([]byte, 1))
	}
	return <-done, err
}

func TestHandshakes(t *testing.T) {
	authority, stranger := accesstest.NewAuthority(t), accesstest.NewAuthority(t)
	later, before := time.Now().Add(time.Hour), time.Now().Add(-time.Minute)
	cert, key := authority.Issue(t, "server", later)
	good := func(config *tls.Config) *tls.Config {
		c, k := authority.Issue(t, "client", later)
		pair, err := tls.LoadX509KeyPair(c, k)
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{pair}
		return config
	}
	bad := func(a *accesstest.Authority, end time.Time) *tls.Config {
		config := authority.Client(t, "", "")
		c, k := a.Issue(t, "client", end)
		pair, err := tls.LoadX509KeyPair(c, k)
		if err != nil {
			t.Fatal(err)
		}
		// Show it although the server names other authorities.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		return config
	}
	old := good(authority.Client(t, "", ""))
	old.MaxVersion = tls.VersionTLS12

	for name, tt := range map[string]struct {
		files  access.Files
		client *tls.Config
		in     bool
	}{
		"no certificate asked for":             {access.Files{}, authority.Client(t, "", ""), true},
		"certificate":                          {access.Files{ClientCA: authority.Path}, good(authority.Client(t, "", "")), true},
		"none":                                 {access.Files{ClientCA: authority.Path}, authority.Client(t, "", ""), false},
		"none, and optional":                   {access.Files{ClientCA: authority.Path, Optional: true}, authority.Client(t, "", ""), true},
		"of a stranger":                        {access.Files{ClientCA: authority.Path}, bad(stranger, later), false},
		"of a stranger, and optional":          {access.Files{ClientCA: authority.Path, Optional: true}, bad(stranger, later), false},
		"expired":                              {access.Files{ClientCA: authority.Path}, bad(authority, before), false},
		"the client does not trust the server": {access.Files{}, stranger.Client(t, "", ""), false},
		"TLS 1.2":                              {access.Files{}, old, false},
		"TLS 1.2 where it is allowed":          {access.Files{MinVersion: tls.VersionTLS12}, old, true},
	} {
		t.Run(name, func(t *testing.T) {
			tt.files.Cert, tt.files.Key = cert, key
			certificates, err := access.LoadCertificates(tt.files)
			if err != nil {
				t.Fatal(err)
			}
			serverErr, clientErr := shake(t, certificates.Config(), tt.client)
			if in := serverErr == nil && clientErr == nil; in != tt.in {
				t.Errorf("in is %v, want %v: server says %v, client %v", in, tt.in, serverErr, clientErr)
			}
		})
	}
}

func TestReloadCertificates(t *testing.T) {
	first, second := accesstest.NewAuthority(t), accesstest.NewAuthority(t)
	later := time.Now().Add(time.Hour)
	cert, key := first.Issue(t, "server", later)
	certificates, err := access.LoadCertificates(access.Files{Cert: cert, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	config := certificates.Config() // as a server gets it at its start
	check := func(what string, trusted, other *accesstest.Authority) {
		t.Helper()
		if _, err := shake(t, config, trusted.Client(t, "", "")); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := shake(t, config, other.Client(t, "", "")); err == nil {
			t.Errorf("%s: the server still shows the other certificate", what)
		}
	}
	check("at the start", first, second)
	second.IssueTo(t, "server", later, cert, key)
	check("before the reload", first, second)
	if err := certificates.Reload(); err != nil {
		t.Fatal(err)
	}
	check("after it", second, first)
	if err := os.WriteFile(key, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := certificates.Reload(); !errors.Is(err, access.ErrCertificates) {
		t.Errorf("error is %v, want ErrCertificates", err)
	}
	check("after a reload that failed", second, first)
}

func TestBadCertificates(t *testing.T) {
	authority := accesstest.NewAuthority(t)
	cert, key := authority.Issue(t, "server", time.Now().Add(time.Hour))
	_, other := authority.Issue(t, "server", time.Now().Add(time.Hour))
	for name, files := range map[string]access.Files{
		"no such file":      {Cert: filepath.Join(t.TempDir(), "none"), Key: key},
		"key of another":    {Cert: cert, Key: other},
		"swapped":           {Cert: key, Key: cert},
		"authority is none": {Cert: cert, Key: key, ClientCA: key},
		"no authority":      {Cert: cert, Key: key, ClientCA: filepath.Join(t.TempDir(), "none")},
	} {
		if _, err := access.LoadCertificates(files); !errors.Is(err, access.ErrCertificates) {
			t.Errorf("%s: error is %v, want ErrCertificates", name, err)
		}
	}
}
