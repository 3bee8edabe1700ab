package web

import "net/http"

func (h *Handler) appends(w http.ResponseWriter, r *http.Request) { http.Error(w, "", 501) }
