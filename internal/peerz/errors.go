package peerz

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"syscall"
)

// The classes of errors, the values of evenkeel_peer_errors_total{why}.
const (
	// Timeout: no answer, or not all of it, in time.
	Timeout = "timeout"
	// Refused: nobody listens there.
	Refused = "refused"
	// Status: an HTTP status other than 200; a redirect is one.
	Status = "status"
	// Size: the answer is larger than any pod's.
	Size = "size"
	// JSON: not JSON, or not with the types that a report has.
	JSON = "json"
	// Nonsense: numbers that cannot be, or keys that were not asked for.
	Nonsense = "nonsense"
	// WrongPod: another pod than the one asked has answered.
	WrongPod = "wrong_pod"
	// TLS: one of the two does not accept the other's certificate, or one speaks TLS
	// and the other does not.
	TLS = "tls"
	// Other is everything else: a reset, no route, a question that was cancelled.
	Other = "other"
)

// Classes returns all classes, for a metric that has every series from the start.
func Classes() []string {
	return []string{Timeout, Refused, Status, Size, JSON, Nonsense, WrongPod, TLS, Other}
}

// Error is an answer that cannot be used. Its pod's last good report ages; ask
// again with the next round.
type Error struct {
	Class string // its class
	Addr  string // who was asked, if it is known
	Err   error  // what happened
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
	var own *Error
	var timeout net.Error
	switch {
	case errors.As(err, &own):
		return own.Class
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return Timeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case isTLS(err):
		return TLS
	}
	return Other
}

// isTLS tells whether err comes of the handshake. What the other side refuses comes as
// an alert, whose type Go does not export; its operation says so.
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
