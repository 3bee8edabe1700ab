package web

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"tcp-log-server/server"
)

// A browser sends requests for any page that it shows, with its user's cookies and from inside its
// user's network. So a request must address the server by a known name: otherwise a page could
// reach the server through a name of its own that it makes point here. A request must not come from
// another site if it changes anything. And no other site may read an answer.

// guard knows the names of the server, and the sites that may use it.
type guard struct {
	names   []string
	origins []string
	sites   *http.CrossOriginProtection
}

func newGuard(names, origins []string) guard {
	g := guard{origins: origins, sites: http.NewCrossOriginProtection()}
	for _, name := range names {
		if err := CheckName(name); err != nil {
			panic(err)
		}
		g.names = append(g.names, hostname(name))
	}
	for _, origin := range origins {
		if err := g.sites.AddTrustedOrigin(origin); err != nil {
			panic(err)
		}
	}
	return g
}

// CheckName returns an error unless name is only the name or address of a host.
func CheckName(name string) error {
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return nil
	}
	if name == "" || strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" || strings.Contains(name, "..") {
		return fmt.Errorf("%q is not the name of a host, want one like log.example, without a port", name)
	}
	return nil
}

// CheckOrigin returns an error unless origin is the origin of a site, as browsers send it.
func CheckOrigin(origin string) error {
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || origin != u.Scheme+"://"+u.Host || origin != strings.ToLower(origin) {
		return fmt.Errorf("%q is not the origin of a site, want one like https://app.example", origin)
	}
	return nil
}

// policy lets the page load only its own files, and forbids framing it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// harden sets the headers that every answer has.
func harden(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// refuses answers a request that a page of another site may have sent, and a preflight.
func (h *Handler) refuses(w http.ResponseWriter, r *http.Request) bool {
	// A probe addresses the server wherever it is, without a known name, and learns nothing.
	probe := r.URL.Path == "/healthz" || r.URL.Path == "/readyz"
	if !probe && !h.guard.knows(r) {
		(&fault{http.StatusMisdirectedRequest, fmt.Sprintf(
			"this server is not known as %q: use localhost or its address, or add the name to HTTP_NAMES", shorten(hostname(r.Host)))}).answer(w)
		return true
	}
	origin := r.Header.Get("Origin")
	if len(h.guard.origins) > 0 {
		w.Header().Add("Vary", "Origin")
	}
	if origin != "" && slices.Contains(h.guard.origins, origin) {
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Access-Control-Expose-Headers", "ETag, Last-Modified, Location, Retry-After, X-Log-Index")
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			w.Header().Set("Access-Control-Allow-Methods", "GET, HEAD, POST")
			w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type, If-None-Match, Last-Event-ID")
			w.Header().Set("Access-Control-Max-Age", "600")
			w.WriteHeader(http.StatusNoContent)
			return true
		}
	}
	if err := h.guard.sites.Check(r); err != nil {
		(&fault{http.StatusForbidden, fmt.Sprintf(
			"the request comes from a page of another site, %q: to allow it, add its origin to HTTP_ORIGINS", shorten(origin))}).answer(w)
		return true
	}
	return false
}

// knows reports whether the request addresses the server by one of its names or addresses.
func (g *guard) knows(r *http.Request) bool {
	host := hostname(r.Host)
	if host == "localhost" || slices.Contains(g.names, host) {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	if ip = ip.Unmap(); ip == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || ip == netip.IPv6Loopback() {
		return true
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	tcp, ok := local.(*net.TCPAddr)
	return ok && tcp.AddrPort().Addr().Unmap().WithZone("") == ip
}

// hostname returns the host of an address with or without a port, normalized for comparison.
func hostname(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(address, "["), "]")
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// errToken: the client shows an unknown token.
var errToken = errors.New("unknown token")

// identify returns the same as admitted. The error says that the client shows no token, or a token
// that admits no one.
func (h *Handler) identify(r *http.Request) (token *[32]byte, name string, rights server.Rights, err error) {
	all := server.Rights{Read: true, Write: true}
	if name, ok := certified(r); ok {
		return nil, name, all, nil
	}
	if h.config.Tokens == nil {
		return nil, "", all, nil
	}
	var hash [32]byte
	if given := r.Header.Values("Authorization"); len(given) > 0 {
		scheme, secret, _ := strings.Cut(given[0], " ")
		if len(given) > 1 || !strings.EqualFold(scheme, "Bearer") {
			return nil, "", server.Rights{}, errors.New("the header Authorization is not a Bearer token")
		}
		hash = sha256.Sum256([]byte(strings.TrimSpace(secret)))
	} else if id, ok := sessionOf(r); !ok {
		return nil, "", server.Rights{}, errors.New("no token")
	} else if hash, ok = h.sessions.token(id); !ok {
		return nil, "", server.Rights{}, errors.New("no such session")
	}
	if name, rights = h.config.Tokens(hash); rights == (server.Rights{}) {
		return nil, "", rights, errToken
	}
	return &hash, name, rights, nil
}

// certified returns the name in the client's verified certificate.
func certified(r *http.Request) (name string, ok bool) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return "", false
	}
	return r.TLS.PeerCertificates[0].Subject.CommonName, true
}

// admitted returns what admits the client of r: the SHA-256 of its token, nil if it needs none, the
// name of the token or certificate, and the rights. ok is false if nothing admits it.
func (h *Handler) admitted(r *http.Request) (token *[32]byte, name string, rights server.Rights, ok bool) {
	token, name, rights, err := h.identify(r)
	return token, name, rights, err == nil
}

// admit wraps f so that it answers only admitted clients.
func (h *Handler) admit(f http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if _, _, _, err := h.identify(r); err != nil {
			h.turnAway(w, r, err)
			return
		}
		if place := placeOf(r.Context()); place != nil {
			place.Begin()
			defer place.End()
		}
		f(w, r)
	}
}

// turnAway answers a client that is not admitted. As over TCP, only the server's log says more
// about the reason, and each guess of a token costs a connection.
func (h *Handler) turnAway(w http.ResponseWriter, r *http.Request, why error) {
	h.config.Server.Unauthorized()
	h.rejected.Warn().Str("event", "unauthorized").Str("address", r.RemoteAddr).AnErr("error", why).Msg("client turned away")
	if why == errToken {
		w.Header().Set("Connection", "close")
	}
	w.Header().Set("WWW-Authenticate", "Bearer")
	(&fault{http.StatusUnauthorized, server.ErrUnauthorized.Error()}).answer(w)
}
