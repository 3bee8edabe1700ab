package daemon

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// put makes files in dir, and directories if their names end in a slash.
func put(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		if strings.HasSuffix(name, "/") {
			err = errors.Join(err, os.MkdirAll(path, 0o700))
		} else {
			err = errors.Join(err, os.WriteFile(path, []byte("a file of someone's"), 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// listing returns the paths below dir.
func listing(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		names = append(names, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestForeignDirectory: a directory with other files and no part of a log is refused and left unchanged.
// An empty one is not, nor one with only the files that a file system or the settings put there.
func TestForeignDirectory(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files []string
		set   func(c *Config)
		says  string // after the directory; empty if the daemon starts
	}{
		{"documents", []string{"docs/a.md", "docs/b.md", "docs/c.md", "docs/d.md", "docs/e/"}, nil, " holds other files (a.md, b.md, c.md and 2 more) and no part of a log; name an empty directory or a new one, such as "},
		{"one directory", []string{"docs/photos/"}, nil, " holds other files (photos) and no part of a log; "},
		{"the index", []string{"x/"}, func(c *Config) { c.WAL = filepath.Join(filepath.Dir(c.Data), "w"); put(t, c.WAL, "notes") }, " holds other files (notes) and no part of a log; "},
		{"the blobs", nil, func(c *Config) { c.Blobs = filepath.Join(filepath.Dir(c.Data), "w"); put(t, c.Blobs, "notes") }, " holds other files (notes) and no part of a log; "},
		{"nothing", nil, nil, ""},
		{"an empty directory", []string{"docs/"}, nil, ""},
		{"lost+found", []string{"docs/lost+found/"}, nil, ""},
		{"hidden files", []string{"docs/.keep", "docs/.snapshot/"}, nil, ""},
		{"directories for its parts", []string{"docs/index/", "docs/parts/blobs/"}, func(c *Config) {
			c.WAL, c.Blobs = filepath.Join(c.Data, "index"), filepath.Join(c.Data, "parts/blobs")
		}, ""},
		{"its tokens", nil, func(c *Config) {
			c.Tokens = filepath.Join(c.Data, "tokens.txt")
			put(t, c.Data, "/")
			if err := os.WriteFile(c.Tokens, []byte("ann "+strings.Repeat("0", 64)+" both\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"an earlier start that failed", []string{"docs/LOCK", "docs/notes"}, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			work := t.TempDir()
			put(t, work, tt.files...)
			config := NewConfig(filepath.Join(work, "docs"))
			config.Port = 0
			if tt.set != nil {
				tt.set(&config)
			}
			if tt.says == "" {
				for range 2 {
					if err := run(t, config).stop(); err != nil {
						t.Error(err)
					}
				}
				return
			}
			before := listing(t, work)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // in case it serves
			defer cancel()
			err := Run(ctx, config)
			if err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), work) {
				t.Errorf("error is %v, want one that names %s and says %q", err, work, tt.says)
			}
			if after := listing(t, work); !slices.Equal(after, before) {
				t.Errorf("there are\n%q, before there were\n%q", after, before)
			}
		})
	}
}

// TestKnownDirectories: every log starts that another version, a backup or a copy has left, even with
// other files beside its own.
func TestKnownDirectories(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, c *Config){
		"as it is": func(*testing.T, *Config) {},
		"without LOCK": func(t *testing.T, c *Config) {
			if err := os.Remove(filepath.Join(c.Data, "LOCK")); err != nil {
				t.Fatal(err)
			}
		},
		"beside other files": func(t *testing.T, c *Config) { put(t, c.Data, "notes", "photos/") },
		"with its index and blobs elsewhere": func(t *testing.T, c *Config) {
			c.WAL, c.Blobs = filepath.Join(filepath.Dir(c.Data), "w"), filepath.Join(filepath.Dir(c.Data), "b")
			if err := errors.Join(os.Rename(filepath.Join(c.Data, "wal"), c.WAL), os.Rename(filepath.Join(c.Data, "blobs"), c.Blobs)); err != nil {
				t.Fatal(err)
			}
			put(t, c.WAL, "notes")
			put(t, c.Blobs, "notes")
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := NewConfig(filepath.Join(t.TempDir(), "data"))
			config.Port = 0
			unpack(t, "../testdata/golden/v1.tar.gz", config.Data)
			change(t, &config)
			if err := run(t, config).stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// unpack unpacks an archive into dir.
func unpack(t *testing.T, archive, dir string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	plain, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for files := tar.NewReader(plain); ; {
		head, err := files.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, head.Name)
		if head.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o700)
		} else {
			var b []byte
			if b, err = io.ReadAll(files); err == nil {
				err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, b, 0o600))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
