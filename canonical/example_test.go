package canonical_test

import (
	"errors"
	"fmt"

	"tcp-log-server/canonical"
)

func ExampleAppend() {
	src := []byte(`{"b": 1.50, "a": "\u0041"} and more`)
	form, n, err := canonical.Append(nil, src)
	fmt.Printf("%s %d %v\n", form, n, err)

	_, n, err = canonical.Append(nil, []byte(`{"a":1,"a":2}`))
	fmt.Println(n, err, errors.Is(err, canonical.ErrDuplicateMember))

	_, n, err = canonical.Append(nil, []byte(`{"a":`))
	fmt.Println(n, err)
	// Output:
	// {"a":"A","b":1.5} 26 <nil>
	// 13 duplicate member "a" at byte 7 of the entry true
	// 0 not JSON: ends at byte 5, want a value
}

func ExampleCheck() {
	fmt.Println(canonical.Check([]byte(`{"a":[1e+400]}`)))
	fmt.Println(canonical.Check([]byte(`{"a":[1E400]}`)))
	fmt.Println(canonical.CheckStored([]byte(`{"a":[1E400]}`)))
	// Output:
	// <nil>
	// not in canonical form at byte 7
	// <nil>
}
