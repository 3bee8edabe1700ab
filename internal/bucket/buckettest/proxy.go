package buckettest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
)

// A Fault is what a Proxy does to one request. The zero value forwards it unchanged.
type Fault struct {
	Kind Kind
	// At is how many bytes of the body pass before it is cut, corrupted or held.
	At int64
	// Status and Code are for Answer; Code may be empty.
	Status int
	Code   string
	// RetryAfter, unless empty, is the value of that header for Answer.
	RetryAfter string
}

// Kind is a kind of fault.
type Kind int

const (
	None          Kind = iota
	Answer             // answer with Status and Code, and do not forward
	Reset              // break the connection at once
	Hang               // neither forward nor answer
	LoseAnswer         // forward, and break the connection when the answer comes
	CutRequest         // break both connections within the request body
	SpoilRequest       // change a byte of the request body
	CutResponse        // break the connection within the response body
	SpoilResponse      // change a byte of the response body
	HoldResponse       // stop within the response body
)

// Faults for S3 services.
var (
	InternalError = Fault{Kind: Answer, Status: 500, Code: "InternalError"}
	SlowDown      = Fault{Kind: Answer, Status: 503, Code: "SlowDown"}
	Denied        = Fault{Kind: Answer, Status: 403, Code: "AccessDenied"}
	NoBucket      = Fault{Kind: Answer, Status: 404, Code: "NoSuchBucket"}
)

// Proxy sits between a client and an HTTP service, and makes requests fail.
type Proxy struct {
	URL string // http://127.0.0.1:port, for the client

	target *url.URL
	client http.Client
	choose atomic.Pointer[func(*http.Request) Fault]
	closed chan struct{}
	seen   atomic.Int64
}

// NewProxy starts a proxy in front of the service at target, http://host:port. It runs until the
// test ends.
func NewProxy(t testing.TB, target string) *Proxy {
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{target: u, closed: make(chan struct{})}
	// A service may answer after its request was cut; no other request must get that answer.
	p.client.Transport = &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	p.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	p.Choose(nil)
	server := httptest.NewServer(p)
	p.URL = server.URL
	t.Cleanup(func() {
		close(p.closed) // releases the hanging requests
		server.CloseClientConnections()
		server.Close()
	})
	return p
}

// Choose makes fn choose the fault of each request from now on; nil forwards all. fn may be called
// from several goroutines at once.
func (p *Proxy) Choose(fn func(r *http.Request) Fault) {
	if fn == nil {
		fn = func(*http.Request) Fault { return Fault{} }
	}
	p.choose.Store(&fn)
}

// First applies f to the first n requests for which match returns true, and to no others.
func (p *Proxy) First(n int, f Fault, match func(r *http.Request) bool) {
	var done atomic.Int64
	p.Choose(func(r *http.Request) Fault {
		if match(r) && done.Add(1) <= int64(n) {
			return f
		}
		return Fault{}
	})
}

// Requests returns the number of requests so far.
func (p *Proxy) Requests() int64 { return p.seen.Load() }

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.seen.Add(1)
	f := (*p.choose.Load())(r)
	switch f.Kind {
	case Answer:
		p.answer(w, r, f)
		return
	case Reset:
		panic(http.ErrAbortHandler)
	case Hang:
		p.hang(r)
	}
	resp, err := p.forward(r, f)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer resp.Body.Close()
	if f.Kind == LoseAnswer {
		_, _ = io.Copy(io.Discard, resp.Body)
		panic(http.ErrAbortHandler)
	}
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.StatusCode)
	if err := p.pass(w, r, resp.Body, f); err != nil {
		panic(http.ErrAbortHandler)
	}
}

func (p *Proxy) answer(w http.ResponseWriter, r *http.Request, f Fault) {
	_, _ = io.Copy(io.Discard, r.Body)
	if f.RetryAfter != "" {
		w.Header().Set("Retry-After", f.RetryAfter)
	}
	w.WriteHeader(f.Status)
	if f.Code != "" && r.Method != http.MethodHead {
		fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>a fault of the test</Message></Error>`, f.Code)
	}
}

// hang waits until the client gives up.
func (p *Proxy) hang(r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // so that the server notices when the client disconnects
	select {
	case <-r.Context().Done():
	case <-p.closed:
	}
	panic(http.ErrAbortHandler)
}

// forward sends the request to the target.
func (p *Proxy) forward(r *http.Request, f Fault) (*http.Response, error) {
	out, err := http.NewRequestWithContext(r.Context(), r.Method, p.target.String(), r.Body)
	if err != nil {
		return nil, err
	}
	out.URL.Path, out.URL.RawPath, out.URL.RawQuery = r.URL.Path, r.URL.RawPath, r.URL.RawQuery
	out.Header, out.Host, out.ContentLength = r.Header.Clone(), r.Host, r.ContentLength // all signed
	if r.ContentLength == 0 {
		out.Body = http.NoBody
	}
	switch f.Kind {
	case CutRequest:
		out.Body = io.NopCloser(&damaged{r: r.Body, at: f.At, cut: true})
	case SpoilRequest:
		out.Body = io.NopCloser(&damaged{r: r.Body, at: f.At})
	}
	return p.client.Do(out)
}

// pass sends the response body to the client.
func (p *Proxy) pass(w http.ResponseWriter, r *http.Request, body io.Reader, f Fault) error {
	switch f.Kind {
	case CutResponse:
		body = &damaged{r: body, at: f.At, cut: true}
	case SpoilResponse:
		body = &damaged{r: body, at: f.At}
	case HoldResponse:
		_, err := io.CopyN(w, body, f.At)
		if err == nil {
			err = http.NewResponseController(w).Flush()
		}
		if err == nil {
			p.hang(r)
		}
		return err
	}
	_, err := io.Copy(w, body)
	if err != nil {
		_ = http.NewResponseController(w).Flush() // send the bytes before the cut
	}
	return err
}

// damaged is a body that is cut after at bytes, or has a wrong byte there.
type damaged struct {
	r   io.Reader
	at  int64
	cut bool
}

func (d *damaged) Read(p []byte) (int, error) {
	if d.cut {
		if d.at <= 0 {
			return 0, io.ErrUnexpectedEOF
		}
		p = p[:min(int64(len(p)), d.at)]
	}
	n, err := d.r.Read(p)
	if !d.cut && 0 <= d.at && d.at < int64(n) {
		p[d.at] ^= 0x20
	}
	d.at -= int64(n)
	return n, err
}
