package peerz

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"syscall"
)

// The classes of errors are the values of evenkeel_peer_errors_total{why}.
const (
	// Timeout means that the answer, or a part of it, did not come in time.
	Timeout = "timeout"
	// Refused means that nothing listens at the address.
	Refused = "refused"
	// Status is an HTTP status other than 200, such as a redirect.
	Status = "status"
	// Size means that the answer is larger than that of any pod.
	Size = "size"
	// JSON means that the answer is not JSON, or lacks the types of a report.
	JSON = "json"
	// Nonsense means impossible numbers, or keys that were not requested.
	Nonsense = "nonsense"
	// WrongPod means that another pod has answered than the one that was polled.
	WrongPod = "wrong_pod"
	// TLS means that one side does not accept the other's certificate, or that only one
	// side speaks TLS.
	TLS = "tls"
	// HTTP2 means that the other side speaks HTTP/2 before it is spoken to, as gRPC servers do.
	HTTP2 = "http2"
	// Other is any other error: a reset, no route, a canceled request.
	Other = "other"
)

// Classes returns all classes, so that a metric can have every series from the start.
func Classes() []string {
	return []string{Timeout, Refused, Status, Size, JSON, Nonsense, WrongPod, TLS, HTTP2, Other}
}

// Error is the reason why a request has no usable answer. The last good report of the pod
// ages meanwhile. Poll it again next time.
type Error struct {
	Class string // one of Classes
	Addr  string // the address of the pod, if known
	Err   error  // the cause
}

func (e *Error) Error() string {
	if e.Addr == "" {
		return e.Err.Error()
	}
	return "peer " + e.Addr + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// ClassOf returns the class of err, empty for nil.
func ClassOf(err error) string {
	if err == nil {
		return ""
	}
	var classed *Error
	var timeout net.Error
	switch {
	case errors.As(err, &classed):
		return classed.Class
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return Timeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case isTLS(err):
		return TLS
	}
	return Other
}

// isTLS reports whether err comes from the handshake. A refusal by the other side arrives as
// an alert. Go does not export its type, but it has its own operation.
func isTLS(err error) bool {
	var cert *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.As(err, &cert), errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return true
	case errors.As(err, &op):
		return op.Op == "remote error" || op.Op == "local error"
	}
	return false
}
