package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"time"
)

// files is the page: HTML, style and modules, served unchanged.
//
//go:embed page
var files embed.FS

// pageFile is a file of the page.
type pageFile struct {
	path      string // URL path, as a pattern
	mediaType string
	tag       string
	content   []byte
}

// mediaTypes are the types of the page's files. The machine's own table may differ.
var mediaTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	".png":  "image/png",
}

// pageFiles are the files of the page.
var pageFiles = func() (all []*pageFile) {
	err := fs.WalkDir(files, "page", func(name string, entry fs.DirEntry, err error) error {
		mediaType, ok := mediaTypes[path.Ext(name)]
		if err != nil || entry.IsDir() || !ok {
			return err
		}
		content, err := files.ReadFile(name)
		url := name[len("page"):]
		if url == "/index.html" {
			url = "/{$}"
		}
		all = append(all, &pageFile{url, mediaType, fmt.Sprintf(`"%x"`, sha256.Sum256(content)), content})
		return err
	})
	if err != nil {
		panic(err)
	}
	return all
}()

// ServeHTTP serves the file. A browser revalidates its copy each time, so that it does not mix old
// and new files after an update.
func (f *pageFile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.mediaType)
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", f.tag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.content))
}
