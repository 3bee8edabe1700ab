package web

import "net/http"

func (h *Handler) entries(w http.ResponseWriter, r *http.Request)   { http.Error(w, "", 501) }
func (h *Handler) entry(w http.ResponseWriter, r *http.Request)     { http.Error(w, "", 501) }
func (h *Handler) head(w http.ResponseWriter, r *http.Request)      { http.Error(w, "", 501) }
func (h *Handler) stat(w http.ResponseWriter, r *http.Request)      { http.Error(w, "", 501) }
func (h *Handler) histogram(w http.ResponseWriter, r *http.Request) { http.Error(w, "", 501) }
