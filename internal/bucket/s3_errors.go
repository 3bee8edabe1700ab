package bucket

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/minio/minio-go/v7"
)

var (
	// errPrecondition: the object had to be new, but exists.
	errPrecondition = errors.New("the condition of the request does not hold")
	// errNoUpload: the upload in parts was completed or aborted.
	errNoUpload = errors.New("no such upload")
	errRange    = errors.New("the range is not in the object")
)

// s3Error turns an error of the library into one that wraps this package's errors, says what the
// service answered, and is permanent if a retry would fail too.
func s3Error(err error) error {
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) {
		// There was no answer, or not one of an S3 service.
		var unknownCA x509.UnknownAuthorityError
		var invalid *tls.CertificateVerificationError
		if errors.As(err, &unknownCA) || errors.As(err, &invalid) {
			return permanent{err}
		}
		return err
	}
	said := fmt.Errorf("%d %s: %s", answer.StatusCode, answer.Code, strings.TrimSuffix(answer.Message, "."))
	if answer.RequestID != "" {
		said = fmt.Errorf("%w (request %s)", said, answer.RequestID)
	}
	switch answer.Code {
	case minio.NoSuchBucket:
		return permanent{fmt.Errorf("%w: %w", ErrNoBucket, said)}
	case minio.NoSuchKey:
		return permanent{fmt.Errorf("%w: %w", ErrNotFound, said)}
	case minio.NoSuchUpload:
		return permanent{fmt.Errorf("%w: %w", errNoUpload, said)}
	case "BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "IncompleteBody", "InvalidDigest",
		"RequestTimeout", "SlowDown", "ConditionalRequestConflict", "OperationAborted", "Conflict", "ExpiredToken", "RequestTimeTooSkewed":
		return said // the body was damaged in transit, or the problem is temporary
	}
	switch status := answer.StatusCode; {
	case status == http.StatusPreconditionFailed:
		return permanent{fmt.Errorf("%w: %w", errPrecondition, said)}
	case status == http.StatusRequestedRangeNotSatisfiable:
		return permanent{fmt.Errorf("%w: %w", errRange, said)}
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		return permanent{fmt.Errorf("%w: %w", ErrDenied, said)}
	case status == http.StatusNotImplemented:
		return permanent{said}
	case status >= 500 || status < 300 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout:
		return said
	}
	return permanent{said}
}
