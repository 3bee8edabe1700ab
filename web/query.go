package web

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// query is a request for a read.
type query struct {
	line   string // the read as a message of the protocol, with its newline
	follow bool   // continue after the head
	events bool   // answer with server-sent events
}

// readParameters are the parameters of a read. Each except "follow" is a member of the message.
var readParameters = []string{"follow", "from", "hash", "last", "read", "scan", "since", "through", "time", "where"}

// parseQuery turns the request into a query. Whatever the values are, the line is a single message
// with exactly the intended members. The server checks their values.
func parseQuery(r *http.Request) (*query, error) {
	values, err := parameters(r, readParameters)
	if err != nil {
		return nil, err
	}
	q := &query{events: accepts(r, "text/event-stream")}
	if q.follow, err = flagOf(values, "follow"); err != nil {
		return nil, err
	}
	q.follow = q.follow || q.events
	if id := r.Header.Get("Last-Event-ID"); q.events && id != "" {
		after, err := strconv.ParseUint(id, 10, 64)
		if err != nil || after >= math.MaxInt64 {
			return nil, fmt.Errorf("Last-Event-ID is %q, want the index of an entry", shorten(id))
		}
		delete(values, "last")
		delete(values, "since")
		values["from"] = []string{strconv.FormatUint(after+1, 10)}
	}
	if !values.Has("from") && !values.Has("last") && !values.Has("since") {
		values["from"] = []string{"1"}
	}
	line := []byte{'{'}
	for _, name := range readParameters[1:] {
		if !values.Has(name) {
			continue
		}
		if len(line) > 1 {
			line = append(line, ',')
		}
		line = append(append(append(line, '"'), name...), `":`...)
		if line, err = appendMember(line, values, name); err != nil {
			return nil, err
		}
	}
	q.line = string(append(line, "}\n"...))
	return q, nil
}

// appendMember appends the value of a parameter as JSON.
func appendMember(line []byte, values url.Values, name string) ([]byte, error) {
	switch value := values.Get(name); name {
	case "hash", "time":
		set, err := flagOf(values, name)
		return strconv.AppendBool(line, set), err
	case "since":
		// An unescaped plus sign has become a space, which no time contains.
		text, err := json.Marshal(strings.ReplaceAll(value, " ", "+"))
		return append(line, text...), err
	case "where":
		var text bytes.Buffer
		if err := json.Compact(&text, []byte(value)); err != nil {
			return nil, fmt.Errorf("%q is not JSON: %w", name, err)
		}
		return append(line, text.Bytes()...), nil
	default:
		digits, ok := number(value)
		if !ok {
			return nil, fmt.Errorf("%q is %q, want a whole number from 1 on", name, shorten(value))
		}
		return append(line, digits...), nil
	}
}

// parameters returns the parameters of a request. Each must be known and occur only once.
func parameters(r *http.Request, known []string) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("the parameters cannot be read: %w", err)
	}
	for name, all := range values {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("unknown parameter %q, want %s", shorten(name), cmp.Or(strings.Join(known, ", "), "none"))
		}
		if len(all) > 1 {
			return nil, fmt.Errorf("%q occurs twice, want it once", name)
		}
	}
	return values, nil
}

// flagOf returns the value of a flag parameter, which may have no value.
func flagOf(values url.Values, name string) (bool, error) {
	set, ok := flag(values.Get(name))
	if !ok {
		return false, fmt.Errorf("%q is %q, want true or false", name, shorten(values.Get(name)))
	}
	return set && values.Has(name), nil
}

// flag parses the value of a flag; an empty value sets it.
func flag(value string) (set, ok bool) {
	return value != "false", value == "" || value == "true" || value == "false"
}

// whole parses a whole number. A number above the greatest index counts as the greatest.
func whole(value string) (n uint64, ok bool) {
	n, err := strconv.ParseUint(value, 10, 63)
	return n, err == nil || errors.Is(err, strconv.ErrRange) && strings.Trim(value, "0123456789") == ""
}

// number returns the digits of a whole number as in JSON.
func number(value string) (digits string, ok bool) {
	if value == "" || strings.Trim(value, "0123456789") != "" {
		return "", false
	}
	if digits = strings.TrimLeft(value, "0"); digits == "" {
		digits = "0"
	}
	return digits, true
}

// shorten shortens text from the client for an error.
func shorten(text string) string {
	const most = 40
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

// accepts reports whether the request's Accept header names the media type.
func accepts(r *http.Request, media string) bool {
	for _, line := range r.Header.Values("Accept") {
		for accepted := range strings.SplitSeq(line, ",") {
			accepted, _, _ = strings.Cut(accepted, ";")
			if strings.EqualFold(strings.TrimSpace(accepted), media) {
				return true
			}
		}
	}
	return false
}

// errBody: a GET request has a body.
var errBody = errors.New("the request has a body, want none")
