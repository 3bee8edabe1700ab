package bucket

import (
	"fmt"
	"strings"
)

const (
	maxKey     = 512 // bytes of a key
	maxElement = 255 // bytes of an element of a key, the limit of file systems
)

// checkKey returns an error unless key is valid according to the package comment.
func checkKey(key string) error {
	if len(key) > maxKey {
		return fmt.Errorf("a key of %d bytes, the most is %d", len(key), maxKey)
	}
	for element := range strings.SplitSeq(key, "/") {
		switch {
		case element == "" || element[0] == '.':
			return fmt.Errorf("%q is not a key: an element is empty or begins with a dot", key)
		case len(element) > maxElement:
			return fmt.Errorf("%q is not a key: an element has %d bytes, the most is %d", key, len(element), maxElement)
		case strings.IndexFunc(element, notOfKey) >= 0:
			return fmt.Errorf("%q is not a key: it has other characters than letters, digits, '-', '_', '.' and '/'", key)
		}
	}
	return nil
}

func notOfKey(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_', r == '.':
		return false
	}
	return true
}
