package segment

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"tcp-log-server/appends"
)

func TestEpochsFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, EpochName)
	e, err := ReadEpochs(dir)
	if err != nil || e.String() != "[[1,1]]" || e.Current() != (appends.Epoch{Number: 1, First: 1}) {
		t.Fatalf("without a file: %s, %v", e, err)
	}
	for _, next := range []struct{ first, after uint64 }{{101, 0}, {101, 6}, {18446744073709551615, 0}} {
		before := e.String()
		next, err := e.Begin(next.first, next.after)
		if err != nil || e.String() != before {
			t.Fatalf("%s, %v; it was %s and is %s", next, err, before, e)
		}
		if err := WriteEpochs(dir, next); err != nil {
			t.Fatal(err)
		}
		if e, err = ReadEpochs(dir); err != nil || e.String() != next.String() {
			t.Fatalf("read %s, %v, want %s", e, err, next)
		}
	}
	if got, want := string(readFile(t, path)), "2 101\n7 101\n8 18446744073709551615\n"; got != want {
		t.Errorf("the file is %q, want %q", got, want)
	}
	if next, err := e.Begin(5, 0); err != nil || next.String() != "[[1,1],[9,5]]" {
		t.Errorf("before all epochs but the first begins %s, %v", next, err)
	}
	if next, err := e.Begin(0, 0); err == nil {
		t.Errorf("an epoch began before the first: %s", next)
	}
	if err := WriteEpochs(dir, Epochs{{Number: 2, First: 1}}); err == nil {
		t.Error("epochs without the first were written")
	}
	for range 2 {
		if err := WriteEpochs(dir, FirstEpoch()); err != nil {
			t.Fatal(err)
		}
	}
	if n := names(t, dir); len(n) > 0 {
		t.Errorf("for epoch 1 there are files: %v", n)
	}
	for _, text := range []string{
		"", "\n", "2", "2 101", "2 101\n\n", "02 101\n", "2  101\n", "2 101 \n", "-2 101\n", "2 x\n", "1 1\n", "2 0\n",
		"2 101\n2 102\n", "2 101\n3 100\n", "2 101\n3 102", "2 18446744073709551616\n", "{}\n",
	} {
		writeFile(t, path, []byte(text))
		if e, err := ReadEpochs(dir); !errors.Is(err, ErrDamaged) {
			t.Errorf("%q: %v, %v, want ErrDamaged", text, e, err)
		}
	}
}

func TestEpochsLead(t *testing.T) {
	t.Parallel()
	at := func(pairs ...uint64) (e Epochs) {
		for i := 0; i < len(pairs); i += 2 {
			e = append(e, appends.Epoch{Number: pairs[i], First: pairs[i+1]})
		}
		return e
	}
	for _, tt := range []struct {
		own, other Epochs
		ok         bool
		next       uint64
	}{
		{at(1, 1), at(1, 1), true, 0},
		{at(1, 1), at(1, 1, 2, 5), true, 2},
		{at(1, 1), at(1, 1, 3, 5, 4, 5), true, 3},
		{at(1, 1, 2, 5), at(1, 1), false, 0},
		{at(1, 1, 2, 5), at(1, 1, 2, 6), false, 0},
		{at(1, 1, 2, 5), at(1, 1, 3, 5), false, 0},
	} {
		if next, ok := tt.own.Leads(tt.other); ok != tt.ok || next.Number != tt.next {
			t.Errorf("%s leads %s: %v, %v, want %v, epoch %d", tt.own, tt.other, next, ok, tt.ok, tt.next)
		}
	}
}

func TestMarkers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 2 {
		if r, err := ReadReplica(dir); err != nil || r != (Replica{}) {
			t.Errorf("no REPLICA: %+v, %v", r, err)
		}
		if f, err := ReadFenced(dir); err != nil || f != (Fenced{}) {
			t.Errorf("no FENCED: %+v, %v", f, err)
		}
		if err := errors.Join(WriteReplica(dir, Replica{Source: "a:7777"}), WriteFenced(dir, Fenced{Epoch: 2, By: `"b" at 10.0.0.2`})); err != nil {
			t.Fatal(err)
		}
		r, err := ReadReplica(dir)
		f, ferr := ReadFenced(dir)
		if err = errors.Join(err, ferr); err != nil || r.Source != "a:7777" || f != (Fenced{Epoch: 2, By: `"b" at 10.0.0.2`}) {
			t.Errorf("read %+v, %+v, %v", r, f, err)
		}
		if n := fmt.Sprint(names(t, dir)); n != "[FENCED REPLICA]" {
			t.Errorf("there are the files %s", n)
		}
		for range 2 {
			if err := errors.Join(RemoveReplica(dir), RemoveFenced(dir)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, texts := range map[string][]string{
		ReplicaName: {"", "{}", `{"source":""}`, `{"source":7}`, "x"},
		FencedName:  {"", "{}", `{"epoch":1}`, `{"epoch":-1}`, "x"},
		EpochName:   {"", "x"},
	} {
		for _, text := range texts {
			path := filepath.Join(dir, name)
			writeFile(t, path, []byte(text))
			if err := CheckMarker(path); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s with %q: %v, want ErrDamaged", name, text, err)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
}
