package bucket

import (
	"context"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
)

const (
	// putID is the metadata field that says which Put made an object. With it, a Put whose answer
	// was lost recognizes its own object.
	putID    = "Put-Id"
	maxParts = 10_000
)

// Put implements Bucket. Each body is sent with its SHA-256 and MD5, and the service refuses one
// that does not match.
func (b *s3Bucket) Put(ctx context.Context, key string, content io.ReaderAt, size int64, create bool) error {
	p := &s3Put{s3Bucket: b, key: key, content: content, size: size, create: create, id: rand.Text()}
	if err := checkKey(key); err != nil {
		return failed(b, "put", key, err)
	}
	if size > b.opts.PartSize {
		return p.inParts(ctx)
	}
	return p.whole(ctx)
}

// s3Put is one Put.
type s3Put struct {
	*s3Bucket
	key     string
	content io.ReaderAt
	size    int64
	create  bool
	id      string
}

func (p *s3Put) options() minio.PutObjectOptions {
	o := minio.PutObjectOptions{
		ContentType:          "application/octet-stream",
		UserMetadata:         map[string]string{putID: p.id},
		DisableContentSha256: true, // not in chunks: the whole body's hash is sent
	}
	if p.create {
		o.SetMatchETagExcept("*")
	}
	return o
}

// send sends the object in one request.
func (p *s3Put) send(ctx context.Context) error {
	return p.do(ctx, "put", p.key, func(a *attempt, name string) error {
		body, err := p.body(a, 0, p.size)
		if err != nil {
			return err
		}
		_, err = p.client.PutObject(a.ctx, p.bucket, name, body, p.size, body.md5, body.sha256, p.options())
		return body.explain(err)
	})
}

// whole puts the object in one request.
func (p *s3Put) whole(ctx context.Context) error {
	err := p.send(ctx)
	if p.create && errors.Is(err, errPrecondition) {
		err = p.mine(ctx, err)
	}
	if err == nil && p.create {
		return p.checkCreate(ctx)
	}
	return err
}

// mine returns nil if the object is this Put's, otherwise that it exists.
func (p *s3Put) mine(ctx context.Context, why error) error {
	info, err := p.stat(ctx, p.key)
	switch {
	case err != nil:
		return errors.Join(err, why)
	case info.UserMetadata[putID] != p.id || info.Size != p.size:
		return failed(p, "put", p.key, ErrExists)
	}
	return nil
}

// checkCreate puts the object again, once per bucket: a service that replaces it ignores the
// condition, and would let two servers write one log.
func (p *s3Put) checkCreate(ctx context.Context) error {
	p.mu.Lock()
	known := p.createWorks
	p.mu.Unlock()
	if known {
		return nil
	}
	err := p.send(ctx)
	switch {
	case err == nil:
		return failed(p, "put", p.key, errors.New("the service replaced an existing object: it ignores If-None-Match"))
	case !errors.Is(err, errPrecondition):
		return err
	}
	p.mu.Lock()
	p.createWorks = true
	p.mu.Unlock()
	return nil
}

// inParts sends the object as an upload in parts, one after the other.
func (p *s3Put) inParts(ctx context.Context) error {
	p.swept.Do(func() { p.sweep(ctx) })
	var upload string
	err := p.do(ctx, "begin to put", p.key, func(a *attempt, name string) (err error) {
		o := p.options()
		upload, err = p.client.NewMultipartUpload(a.ctx, p.bucket, name, minio.PutObjectOptions{ContentType: o.ContentType, UserMetadata: o.UserMetadata})
		return s3ErrorOrNil(err)
	})
	if err != nil {
		return err
	}
	done := false
	defer func() {
		if !done { // the parts cost money until the upload ends
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.opts.Stall)
			defer cancel()
			_ = p.client.AbortMultipartUpload(ctx, p.bucket, p.prefix+p.key, upload)
		}
	}()
	parts, err := p.parts(ctx, upload)
	if err != nil {
		return err
	}
	err = p.do(ctx, "complete", p.key, func(a *attempt, name string) error {
		o := minio.PutObjectOptions{}
		if p.create {
			o.SetMatchETagExcept("*")
		}
		_, err := p.client.CompleteMultipartUpload(a.ctx, p.bucket, name, upload, parts, o)
		return s3ErrorOrNil(err)
	})
	switch {
	case err == nil:
		done = true
		return p.verify(ctx)
	case errors.Is(err, errPrecondition):
		return p.mine(ctx, err)
	case errors.Is(err, errNoUpload):
		// An earlier attempt may have completed the upload with its answer lost.
		if done = p.mine(ctx, err) == nil; done {
			return nil
		}
	}
	return err
}

// parts sends the parts of the upload.
func (p *s3Put) parts(ctx context.Context, upload string) ([]minio.CompletePart, error) {
	partSize := max(p.opts.PartSize, (p.size+maxParts-1)/maxParts)
	var parts []minio.CompletePart
	for offset := int64(0); offset < p.size; offset += partSize {
		number, length := len(parts)+1, min(partSize, p.size-offset)
		err := p.do(ctx, fmt.Sprintf("put part %d of", number), p.key, func(a *attempt, name string) error {
			body, err := p.body(a, offset, length)
			if err != nil {
				return err
			}
			part, err := p.client.PutObjectPart(a.ctx, p.bucket, name, upload, number, body, length,
				minio.PutObjectPartOptions{Md5Base64: body.md5, Sha256Hex: body.sha256, DisableContentSha256: true})
			if err != nil {
				return body.explain(err)
			}
			parts = append(parts, minio.CompletePart{PartNumber: number, ETag: part.ETag})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// verify compares the size of the object that the service made of the parts with what was sent. It
// removes an object of another size: that was not put by anyone.
func (p *s3Put) verify(ctx context.Context) error {
	info, err := p.stat(ctx, p.key)
	if err != nil {
		return err
	}
	if info.Size == p.size || info.UserMetadata[putID] != p.id { // another Put has replaced it
		return nil
	}
	err = failed(p, "put", p.key, fmt.Errorf("the service made an object of %d bytes from parts of %d", info.Size, p.size))
	return errors.Join(err, p.Delete(ctx, p.key))
}

// sweep aborts the uploads in parts that crashes left. Errors are left for the next sweep.
func (p *s3Put) sweep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, p.opts.Stall)
	defer cancel()
	uploads, err := p.client.ListMultipartUploads(ctx, p.bucket, p.prefix, "", "", "", 1000)
	if err != nil {
		return
	}
	for _, u := range uploads.Uploads {
		if strings.HasPrefix(u.Key, p.prefix) && time.Since(u.Initiated) > abandoned {
			_ = p.client.AbortMultipartUpload(ctx, p.bucket, u.Key, u.UploadID)
		}
	}
}

// body is a range of the content that is being sent: it keeps to the rate limit, and records an
// error of reading the content.
type body struct {
	md5, sha256 string // base64 and hexadecimal, as the service expects them

	a       *attempt
	limit   *limiter
	content *io.SectionReader
	err     error
}

// body hashes a range of the content, and returns it ready to be sent.
func (p *s3Put) body(a *attempt, offset, length int64) (*body, error) {
	a.pause()
	defer a.touch()
	content := io.NewSectionReader(p.content, offset, length)
	md, sha := md5.New(), sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(md, sha), struct{ io.Reader }{content}, make([]byte, min(length+1, chunk)))
	if err == nil && n != length {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, permanent{contentError(err)}
	}
	return &body{
		md5:     base64.StdEncoding.EncodeToString(md.Sum(nil)),
		sha256:  hex.EncodeToString(sha.Sum(nil)),
		a:       a,
		limit:   p.limit,
		content: io.NewSectionReader(p.content, offset, length),
	}, nil
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	p = p[:min(len(p), chunk)]
	if b.limit != nil {
		p = p[:min(int64(len(p)), max(512, b.limit.perSecond/8))]
		b.a.pause()
		err := b.limit.wait(b.a.ctx, len(p))
		b.a.touch()
		if err != nil {
			return 0, err
		}
	}
	n, err := b.content.Read(p)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// explain returns the error of a request with this body.
func (b *body) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case b.err != nil:
		return permanent{contentError(b.err)}
	}
	return s3Error(err)
}
