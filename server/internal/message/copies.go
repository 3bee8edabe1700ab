package message

import (
	"cmp"
	"encoding/json"
	"fmt"
)

// MaxName is the longest name of a replica, in bytes.
const MaxName = 255

// Copy is the content of a message between copies of a log: "replicate", "durable" or
// "digest".
type Copy struct {
	From    uint64 // the first index, of "replicate" and "digest"
	Through uint64 // the last index, of "digest"
	// Replicas in "digest" asks for the digests of each machine of the log too.
	Replicas bool
	Store    string // the id of the replica's log, "" if it has none yet
	Epoch    uint64 // the last that the replica knows, 1 or more
	Name     string // of the replica, "" if it has none
	Durable  uint64 // the last index that the replica has on disk, of "durable"
}

// Members that make a message one of a copy if nothing else determines its kind: before they
// had a meaning, they were ignored in other messages.
const (
	copyDigest = iota
	copyDurable
	copyReplicate
	copyCount
)

var (
	copyNames = [copyCount]string{copyDigest: "digest", copyDurable: "durable", copyReplicate: "replicate"}
	copyKinds = [copyCount]Kind{copyDigest: Digest, copyDurable: Durable, copyReplicate: Replicate}
)

// copies are these members.
type copies [copyCount]struct {
	text  []byte // the value, as JSON text; nil if there is none
	twice bool
}

// copied parses the value of member n of copyNames.
func (p *parser) copied(n int) error {
	text, err := p.text()
	if err != nil {
		return err
	}
	if p.copies == nil {
		p.copies = new(copies)
	}
	c := &p.copies[n]
	c.twice = c.text != nil
	c.text = text
	return nil
}

// copy returns the kind of a message of a copy and its content, or its fault.
func (p *parser) copy() (kind Kind, c *Copy, fault string) {
	found := -1
	for n := range p.copies {
		switch m := &p.copies[n]; {
		case m.text == nil:
		case m.twice:
			return 0, nil, fmt.Sprintf("%q occurs twice, want it once", copyNames[n])
		case found >= 0:
			return 0, nil, fmt.Sprintf("it has both %q and %q, want one of them", copyNames[found], copyNames[n])
		default:
			found = n
		}
	}
	c = &Copy{Epoch: 1}
	name, text := copyNames[found], p.copies[found].text
	switch found {
	case copyDurable:
		var ok bool
		if c.Durable, ok = whole(text); !ok {
			fault = fmt.Sprintf("%q is %s, want a whole number from 0 on", name, describe(text))
		}
	case copyDigest:
		fault = c.members(name, text, "from", "through")
		if fault == "" && c.Through < c.From {
			fault = fmt.Sprintf(`%q is from %d through %d, want "through" to be no less than "from"`, name, c.From, c.Through)
		}
	case copyReplicate:
		fault = c.members(name, text, "from", "")
	}
	return copyKinds[found], c, fault
}

// members takes the members of text, the value of the member name, or returns what is wrong
// with them. All required members must be there; unknown members are ignored.
func (c *Copy) members(name string, text []byte, required ...string) (fault string) {
	if text[0] != '{' {
		return fmt.Sprintf("%q is %s, want an object", name, describe(text))
	}
	seen := make(map[string]bool)
	w := walker{line: text}
	w.object(func(member []byte) error {
		value, err := w.text()
		if err != nil {
			return err
		}
		member = unescape(member)
		key := string(member[1 : len(member)-1])
		want := c.set(name, key, value)
		switch known := want != "ignored"; {
		case !known:
		case seen[key]:
			fault = cmp.Or(fault, fmt.Sprintf("%q in %q occurs twice, want it once", key, name))
		case want != "":
			fault = cmp.Or(fault, fmt.Sprintf("%q in %q is %s, want %s", key, name, describe(value), want))
		}
		seen[key] = true
		return nil
	})
	for _, key := range required {
		if key != "" && !seen[key] {
			fault = cmp.Or(fault, fmt.Sprintf("%q in %q is missing, want %s", key, name, wantIndex))
		}
	}
	return fault
}

// set sets a member. want describes a valid value if the given one is not; it is "ignored" if
// the member has no meaning.
func (c *Copy) set(name, key string, value []byte) (want string) {
	ok, replicate := false, name == "replicate"
	switch {
	case key == "from":
		c.From, ok = positive(value)
		want = wantIndex
	case key == "through" && !replicate:
		c.Through, ok = positive(value)
		want = wantIndex
	case key == "replicas" && !replicate:
		c.Replicas, ok = boolean(value)
		want = "true or false"
	case key == "epoch" && replicate:
		c.Epoch, ok = positive(value)
		want = wantIndex
	case key == "store" && replicate:
		c.Store, ok = text(value)
		ok = ok && isStore(c.Store)
		want = "32 hexadecimal digits in lower case"
	case key == "name" && replicate:
		c.Name, ok = text(value)
		ok = ok && c.Name != "" && len(c.Name) <= MaxName
		want = fmt.Sprintf("a string of 1 to %d bytes", MaxName)
	default:
		return "ignored"
	}
	if ok {
		return ""
	}
	return want
}

// text returns the string in a JSON text.
func text(value []byte) (s string, ok bool) {
	return s, value[0] == '"' && json.Unmarshal(value, &s) == nil
}

// isStore reports whether s is the id of a log.
func isStore(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s) == 32
}
