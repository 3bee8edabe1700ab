package page

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/chromedp"
)

// tokens is a file of tokens, and the tokens by name.
type tokens struct {
	t    *testing.T
	path string
}

func newTokens(t *testing.T) tokens { return tokens{t, dir(t) + "/tokens.txt"} }

// add adds a token and returns it.
func (k tokens) add(name, rights string) string {
	k.t.Helper()
	out, err := exec.Command(binary, "token", "add", name, "--rights", rights, "--tokens", k.path).Output()
	if err != nil {
		k.t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// remove removes a token from the file and makes the server reload it.
func (k tokens) remove(name string, s *server) {
	k.t.Helper()
	if out, err := exec.Command(binary, "token", "remove", name, "--tokens", k.path).CombinedOutput(); err != nil {
		k.t.Fatalf("%v: %s", err, out)
	}
	s.cmd.Process.Signal(syscall.SIGHUP)
	s.event("reloaded")
}

// login opens the page of a server that requires a token, and logs in with one.
func login(t *testing.T, s *server, token string) *tab {
	t.Helper()
	p := open(t, s, "/")
	p.expects("401")
	p.visible("#login")
	p.fill("#token", token)
	p.hidden("#login")
	return p
}

// TestLogin: the page asks for a token, keeps it for the session, and asks again once it is revoked.
func TestLogin(t *testing.T) {
	k := newTokens(t)
	both := k.add("writer", "both")
	reader := k.add("reader", "read")
	s := &server{}
	s = start(t, "TOKENS="+k.path)
	s.token = both
	s.append(numbered(1, 50)...)

	p := open(t, s, "/")
	p.expects("401")
	p.visible("#login")
	p.picture("login")
	if eval[int](p, `$$("#list [data-index]").length`) > 0 {
		t.Error("entries are shown without a token")
	}
	p.fill("#token", "wrong")
	p.await("the refusal", `/token|unauthorized/i.test($("#login").innerText + ($("#banner")?.innerText ?? "")) && $("#login [role=alert], #login [role=status], #login .bad")?.innerText.length > 0`)
	p.visible("#login")
	p.picture("login-refused")
	p.fill("#token", reader)
	p.hidden("#login")
	p.sees(50)
	if cookies := eval[string](p, `document.cookie`); cookies != "" {
		t.Errorf("scripts can read the cookie: %s", cookies)
	}
	if kept := eval[string](p, `JSON.stringify([localStorage, sessionStorage]) + location.href`); strings.Contains(kept, reader) {
		t.Errorf("the token is kept: %s", kept)
	}
	p.do(chromedp.Reload())
	p.sees(50)

	p.expects("ERR_INCOMPLETE_CHUNKED") // the server cuts the stream off
	k.remove("reader", s)
	p.visible("#login")
	p.picture("login-revoked")
	s.append(numbered(51, 1)...)
	p.do(chromedp.Reload())
	p.visible("#login")
	if eval[int](p, `$$("#list [data-index]").length`) > 0 {
		t.Error("entries are shown with a revoked token")
	}
}

// TestReadOnly: with the right to read, the page shows everything and offers no way to write.
func TestReadOnly(t *testing.T) {
	k := newTokens(t)
	both, reader := k.add("writer", "both"), k.add("reader", "read")
	s := start(t, "TOKENS="+k.path)
	s.token = both
	s.append(numbered(1, 50)...)
	p := login(t, s, reader)
	p.sees(50)
	if eval[bool](p, shown+`($("#append"))`) {
		t.Error("a form to append is offered")
	}
	p.picture("read-only")
	if status := eval[int](p, `fetch("/entries", {method: "POST", headers: {"Content-Type": "application/json"}, body: "{}"}).then(r => r.status)`); status != 403 {
		t.Errorf("POST has status %d, want 403", status)
	}
	p.expects("403")
}

// TestWriteOnly: with the right to write alone, the page appends and shows no entries.
func TestWriteOnly(t *testing.T) {
	k := newTokens(t)
	writer, both := k.add("writer", "write"), k.add("both", "both")
	s := start(t, "TOKENS="+k.path)
	s.token = both
	s.append(numbered(1, 50)...)
	p := open(t, s, "/")
	p.expects("401|403")
	p.visible("#login")
	p.fill("#token", writer)
	p.visible("#append textarea")
	p.picture("write-only")
	if eval[int](p, `$$("#list [data-index]").length`) > 0 {
		t.Error("entries are shown")
	}
	p.enter("#append textarea", `{"by":"writer"}`)
	p.click("#append button")
	p.await("the reply", `/51/.test($("#append").innerText)`)
	if head := s.head(); head != 51 {
		t.Errorf("the head is %d, want 51", head)
	}
	if eval[bool](p, `$("#append a") !== null`) {
		t.Error("there is a link to an entry that this token cannot read")
	}
	p.picture("write-only-stored")
	os.Remove(k.path)
}
