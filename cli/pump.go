package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"tcp-log-server/canonical"
	"tcp-log-server/client"
	"tcp-log-server/daemon"
)

// pump passes the values to the client.
func (a *appender) pump(ctx context.Context) {
	for {
		text, place, err := a.values.next()
		var bad *valueError
		switch {
		case err == nil:
			v, ok := a.tally.begin(place)
			if !ok {
				return
			}
			if err := a.send(ctx, v, text); err != nil {
				a.tally.settle(v, receipt{}, err)
			}
		case errors.Is(err, io.EOF):
			a.tally.end()
			return
		case errors.As(err, &bad):
			v, ok := a.tally.begin(place)
			if !ok {
				return
			}
			a.tally.settle(v, receipt{}, fmt.Errorf("%w: %w", client.ErrInvalid, err))
			if bad.fatal {
				a.tally.stop(errors.New("the values after it cannot be told apart"))
				return
			}
		default:
			a.tally.stop(fmt.Errorf("standard input: %w", err))
			return
		}
	}
}

// send begins the write of one value.
func (a *appender) send(ctx context.Context, v value, text []byte) error {
	write := a.write
	if write.If == nil && !write.Once && !write.Receipt { // any server accepts it
		return a.client.AppendAsync(ctx, text, func(index uint64, err error) { a.tally.settle(v, receipt{index: index}, err) })
	}
	if write.If != nil {
		head := *write.If + uint64(v.number-1)
		write.If = &head
	}
	write.Entries = [][]byte{text}
	return a.client.PutAsync(ctx, write, func(r client.Result, err error) { a.tally.settle(v, receiptOf(r, 0), err) })
}

// receiptOf returns the receipt of the i-th entry of a write.
func receiptOf(r client.Result, i int) receipt {
	one := receipt{index: r.Index + uint64(i), seen: r.Seen, time: r.Time}
	if i < len(r.Hashes) {
		one.hash = r.Hashes[i]
	}
	return one
}

// pumpBatch reads all values and passes them to the client as one write.
func (a *appender) pumpBatch(ctx context.Context) {
	var values []value
	write, size, most := a.write, 0, 0
	settle := func(r client.Result, err error) {
		for i, v := range values {
			a.tally.settle(v, receiptOf(r, i), err)
		}
	}
	abandon := func(err error) {
		a.tally.stop(nil)
		settle(client.Result{}, fmt.Errorf("%w: %w", client.ErrNotSent, err))
	}
	for {
		text, place, err := a.values.next()
		_, bad := errors.AsType[*valueError](err)
		switch {
		case errors.Is(err, io.EOF) && len(values) == 0:
			a.tally.stop(errors.New("the batch is empty, want at least one entry"))
			return
		case errors.Is(err, io.EOF):
			if err := a.client.PutAsync(ctx, write, settle); err != nil {
				settle(client.Result{}, err)
			}
			a.tally.end()
			return
		case err != nil && !bad:
			abandon(fmt.Errorf("standard input: %w", err))
			return
		}
		v, ok := a.tally.begin(place)
		if !ok {
			abandon(errors.New("stopped before its end"))
			return
		}
		values = append(values, v)
		if bad {
			abandon(fmt.Errorf("%s %d: %w: %w", a.tally.noun, place, client.ErrInvalid, err))
			return
		}
		if most == 0 {
			if most, err = a.batchMax(ctx); err != nil {
				abandon(err)
				return
			}
		}
		entry := batchEntry(text)
		write.Entries = append(write.Entries, entry)
		if size += len(entry) + 1; size > most {
			abandon(fmt.Errorf("%w: the batch is over the limit of %d bytes", client.ErrRefused, most))
			return
		}
	}
}

// batchEntry returns a copy of an entry as the server counts it: in canonical form. If it has
// none, the client or the server says what is wrong with it.
func batchEntry(text []byte) []byte {
	text = bytes.TrimSpace(text)
	form, n, err := canonical.Append(nil, text)
	if err != nil || n < len(text) {
		return bytes.Clone(text)
	}
	return form
}

// batchMax asks the server how many bytes the entries of a batch may have together.
func (a *appender) batchMax(ctx context.Context) (int, error) {
	text, err := a.client.Stat(ctx)
	if err != nil {
		return 0, err
	}
	var s daemon.Stat
	if err := json.Unmarshal(text, &s); err != nil {
		return 0, fmt.Errorf("%w: %w", client.ErrProtocol, err)
	}
	if s.MaxBatch <= 0 {
		return 0, fmt.Errorf("%w: the server, version %s, is too old for --batch", client.ErrUnsupported, s.Version)
	}
	return s.MaxBatch, nil
}
