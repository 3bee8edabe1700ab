package where

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"tcp-log-server/canonical"
)

// Parse returns the object that combines all arguments of --where: an entry matches it if it
// matches each of them. An argument is one of
//
//	name=value          {"name":value}
//	a.b.name=value      {"a":{"b":{"name":value}}}
//	{…}                 the object as it is
//
// The first = ends the name. The rest is JSON if it is valid JSON, otherwise a string: n=5 is the
// number 5, n='"5"' and n=five are strings. A dot in the name always descends one level. A member
// whose name contains a dot or an =, is empty, or begins with {, needs the object form: {"a.b":5}.
//
// Arguments that no entry can match together are an error. Without arguments the object is nil.
func Parse(args []string) (object []byte, err error) {
	if len(args) == 0 {
		return nil, nil
	}
	joined := make(map[string]any)
	for _, arg := range args {
		form, err := parse(arg)
		if err == nil {
			err = join(joined, form, nil)
		}
		if err != nil {
			return nil, err
		}
	}
	text, err := json.Marshal(joined)
	if err != nil {
		return nil, err
	}
	return canonicalObject(text)
}

// parse returns the object of one argument, in canonical form.
func parse(arg string) ([]byte, error) {
	text := []byte(arg)
	if !strings.HasPrefix(strings.TrimLeft(arg, " \t\r\n"), "{") {
		path, value, found := strings.Cut(arg, "=")
		if !found {
			return nil, fmt.Errorf("--where %q has no =, want name=value or a JSON object", arg)
		}
		var err error
		if text, err = nest(path, value); err != nil {
			return nil, fmt.Errorf("--where %q %w", arg, err)
		}
	}
	form, err := canonicalObject(text)
	if err != nil {
		return nil, fmt.Errorf("--where %q %w", arg, err)
	}
	return form, nil
}

// nest returns the object that has value at path.
func nest(path, value string) ([]byte, error) {
	if !utf8.ValidString(path) || !utf8.ValidString(value) {
		return nil, errors.New("is not UTF-8")
	}
	names := strings.Split(path, ".")
	var text []byte
	for _, name := range names {
		if name == "" {
			return nil, errors.New(`has an empty name; give such a member as a JSON object: {"":1}`)
		}
		text = append(append(append(text, '{'), quote(name)...), ':')
	}
	valueText, err := parseValue(value)
	if err != nil {
		return nil, err
	}
	text = append(text, valueText...)
	return append(text, strings.Repeat("}", len(names))...), nil
}

// parseValue returns value in canonical form if it is JSON, otherwise as a string.
func parseValue(value string) ([]byte, error) {
	text := bytes.Trim([]byte(value), " \t\r\n")
	form, n, err := canonical.Append(nil, text)
	var refused *canonical.RefusedError
	if errors.As(err, &refused) && n == len(text) {
		return nil, fmt.Errorf("has a value with %w", refused.Kind)
	}
	if err != nil || n < len(text) {
		return quote(value), nil
	}
	return form, nil
}

// quote returns s, which is UTF-8, as a JSON string.
func quote(s string) []byte {
	text, _ := json.Marshal(s) // cannot fail for a string
	return text
}

// join adds the members of object, which is in canonical form, to into: objects as a
// map[string]any, other values as json.RawMessage. path leads to both.
func join(into map[string]any, object []byte, path []string) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(object, &members); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value, path := members[name], append(path, name)
		there, found := into[name]
		if value[0] != '{' {
			if text, ok := there.(json.RawMessage); found && !(ok && bytes.Equal(text, value)) {
				return conflict(path, there, value)
			}
			into[name] = value
			continue
		}
		inner, ok := there.(map[string]any)
		if found && !ok {
			return conflict(path, there, value)
		}
		if !found {
			inner = make(map[string]any)
			into[name] = inner
		}
		if err := join(inner, value, path); err != nil {
			return err
		}
	}
	return nil
}

// conflict returns the error that two arguments want different values at path.
func conflict(path []string, a any, b json.RawMessage) error {
	return fmt.Errorf("--where asks for two values of %q: %s and %s; no entry has both", strings.Join(path, "."), show(a), show(b))
}

// show returns a value for an error message.
func show(value any) string {
	text, ok := value.(json.RawMessage)
	if !ok || text[0] == '{' {
		return "an object"
	}
	if len(text) > 64 {
		return "one that begins with " + strings.ToValidUTF8(string(text[:64]), "") + "…"
	}
	return string(text)
}
