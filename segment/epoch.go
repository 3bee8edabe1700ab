package segment

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"tcp-log-server/appends"
)

// Files in the directory of a log that give its place among its copies. Without them it is a
// log of its own, in epoch 1.
const (
	// EpochName has a line for each epoch after the first: its number, and its first index.
	EpochName = "EPOCH"
	// ReplicaName says that the log is a replica, and of which log: see Replica.
	ReplicaName = "REPLICA"
	// FencedName says that a replica was promoted, and this log must not continue: see Fenced.
	FencedName = "FENCED"
)

// Epochs are the epochs of a log, first to last. Numbers ascend, and first indices do not
// descend. Never empty.
type Epochs []appends.Epoch

// FirstEpoch returns the epochs of a log that has always been independent.
func FirstEpoch() Epochs { return Epochs{{Number: 1, First: 1}} }

// Current returns the last epoch.
func (e Epochs) Current() appends.Epoch { return e[len(e)-1] }

// Begin returns e with an epoch added that begins with the index first. Its number is greater
// than that of any epoch of e, and greater than after. Epochs that begin later than first are
// left out: a replica that was fenced knows them before it has reached them.
func (e Epochs) Begin(first, after uint64) (Epochs, error) {
	number := max(e.Current().Number, after) + 1
	for len(e) > 1 && e.Current().First > first {
		e = e[:len(e)-1]
	}
	all := append(slices.Clip(e), appends.Epoch{Number: number, First: first})
	return all, all.Check()
}

// Leads reports whether a log with the epochs e can become one with the epochs of other, which
// is so if these begin with e. next is then the first epoch that only other has, zero if there
// is none.
func (e Epochs) Leads(other Epochs) (next appends.Epoch, ok bool) {
	if len(e) > len(other) || !slices.Equal(e, other[:len(e)]) {
		return next, false
	}
	if len(e) < len(other) {
		next = other[len(e)]
	}
	return next, true
}

// Check returns why e cannot be the epochs of a log.
func (e Epochs) Check() error {
	if len(e) == 0 || e[0] != FirstEpoch()[0] {
		return errors.New("the first epoch is not epoch 1 from entry 1")
	}
	for i, epoch := range e[1:] {
		if before := e[i]; epoch.Number <= before.Number || epoch.First < before.First {
			return fmt.Errorf("epoch %d from entry %d follows epoch %d from entry %d", epoch.Number, epoch.First, before.Number, before.First)
		}
	}
	return nil
}

// String formats e as in the answer to a replica: [[1,1],[2,101]].
func (e Epochs) String() string {
	b := []byte{'['}
	for i, epoch := range e {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, "[%d,%d]", epoch.Number, epoch.First)
	}
	return string(append(b, ']'))
}

// ReadEpochs reads the file EPOCH in the log's directory; without one it returns FirstEpoch.
// The error wraps ErrDamaged if WriteEpochs did not write the file.
func ReadEpochs(data string) (Epochs, error) {
	path := filepath.Join(data, EpochName)
	text, err := readMarker(path)
	if errors.Is(err, fs.ErrNotExist) {
		return FirstEpoch(), nil
	}
	if err != nil {
		return nil, err
	}
	e, err := ParseEpochs(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	return e, nil
}

// ParseEpochs parses the content of the file EPOCH.
func ParseEpochs(text []byte) (Epochs, error) {
	e := FirstEpoch()
	for line := range bytes.Lines(text) {
		var epoch appends.Epoch
		_, err := fmt.Sscanf(string(line), "%d %d\n", &epoch.Number, &epoch.First)
		if err != nil || string(line) != epochLine(epoch) {
			return nil, fmt.Errorf("line %d is %.40q, want the number of an epoch and its first index", len(e), line)
		}
		e = append(e, epoch)
	}
	if len(e) == 1 {
		return nil, errors.New("it is empty")
	}
	return e, e.Check()
}

func epochLine(e appends.Epoch) string { return fmt.Sprintf("%d %d\n", e.Number, e.First) }

// WriteEpochs writes the file EPOCH, durably: a crash leaves the old one or this one. Only the
// process that has locked the log may call it, from one goroutine at a time.
func WriteEpochs(data string, e Epochs) error {
	if err := e.Check(); err != nil {
		return err
	}
	if len(e) == 1 {
		return removeMarker(data, EpochName)
	}
	var text []byte
	for _, epoch := range e[1:] {
		text = append(text, epochLine(epoch)...)
	}
	return ReplaceFile(filepath.Join(data, EpochName), text)
}

// Replica is the content of the file REPLICA: the log is a copy of another, which stores
// exactly what its source does. The zero Replica, without a source, stands for no file.
type Replica struct {
	Source string `json:"source"`          // its address, without secrets
	Epoch  uint64 `json:"epoch,omitempty"` // a later epoch of its source that the log has not reached yet; 0 for none
}

// ReadReplica reads the file REPLICA in the log's directory. The error wraps ErrDamaged if
// WriteReplica did not write it.
func ReadReplica(data string) (r Replica, err error) {
	err = decodeMarker(filepath.Join(data, ReplicaName), &r, func() bool { return r.Source != "" })
	return r, err
}

// WriteReplica writes the file REPLICA, as WriteEpochs writes EPOCH.
func WriteReplica(data string, r Replica) error { return encodeMarker(data, ReplicaName, r) }

// RemoveReplica removes the file REPLICA, durably, if there is one.
func RemoveReplica(data string) error { return removeMarker(data, ReplicaName) }

// Fenced is the content of the file FENCED: a copy of the log has begun an epoch that this log
// is not in, so nothing may be appended here. The zero Fenced stands for no file.
type Fenced struct {
	Epoch uint64 `json:"epoch"`        // the number of that epoch
	By    string `json:"by,omitempty"` // who reported it
}

// ReadFenced reads the file FENCED in the log's directory. The error wraps ErrDamaged if
// WriteFenced did not write it.
func ReadFenced(data string) (f Fenced, err error) {
	err = decodeMarker(filepath.Join(data, FencedName), &f, func() bool { return f.Epoch > 1 })
	return f, err
}

// WriteFenced writes the file FENCED, as WriteEpochs writes EPOCH.
func WriteFenced(data string, f Fenced) error { return encodeMarker(data, FencedName, f) }

// RemoveFenced removes the file FENCED, durably, if there is one.
func RemoveFenced(data string) error { return removeMarker(data, FencedName) }

// CheckMarker returns why the file EPOCH, REPLICA or FENCED at path cannot be used.
func CheckMarker(path string) (err error) {
	switch data, name := filepath.Split(path); name {
	case EpochName:
		_, err = ReadEpochs(data)
	case ReplicaName:
		_, err = ReadReplica(data)
	case FencedName:
		_, err = ReadFenced(data)
	}
	return err
}

// markerMax is more than the size of any marker, in bytes.
const markerMax = 1 << 20

func readMarker(path string) ([]byte, error) {
	f, err := OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, markerMax))
}

// decodeMarker reads a marker, if there is one, into v, and checks it by calling ok.
func decodeMarker(path string, v any, ok func() bool) error {
	text, err := readMarker(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err = json.Unmarshal(text, v); err == nil && !ok() {
		err = fmt.Errorf("it says %.80q", text)
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	return nil
}

func encodeMarker(data, name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return ReplaceFile(filepath.Join(data, name), append(text, '\n'))
}

func removeMarker(data, name string) error {
	err := Remove(filepath.Join(data, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
