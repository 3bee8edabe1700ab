package web

import (
	"embed"
	"io/fs"
	"net/http"
)

// files are the page: HTML, style and modules, served as they are.
//
//go:embed page
var files embed.FS

var pageFiles = func() fs.FS {
	sub, err := fs.Sub(files, "page")
	if err != nil {
		panic(err)
	}
	return sub
}()

// page serves the files of the page.
func (h *Handler) page(w http.ResponseWriter, r *http.Request) {
	http.FileServerFS(pageFiles).ServeHTTP(w, r)
}
