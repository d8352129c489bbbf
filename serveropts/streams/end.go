package streams

import (
	"context"
	"errors"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// endError is the status with which a stream is ended, as an error of its own type, so that it is
// found again in what a handler returns.
type endError struct {
	st    *status.Status
	delay time.Duration
}

func newEnd(why string, delay time.Duration) *endError {
	delay = delay.Truncate(time.Millisecond) // the unit of the trailer
	st := status.New(codes.Unavailable, why)
	if detailed, err := st.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(delay)}); err == nil {
		st = detailed
	}
	return &endError{st, delay}
}

// Error is that of a status error.
func (e *endError) Error() string { return e.st.Err().Error() }

// GRPCStatus makes grpc-go send the status.
func (e *endError) GRPCStatus() *status.Status { return e.st }

// pushback is the delay as client libraries with a retryPolicy read it (gRFC A6).
func (e *endError) pushback() metadata.MD {
	return metadata.Pairs("grpc-retry-pushback-ms", strconv.FormatInt(e.delay.Milliseconds(), 10))
}

// comesOf reports whether a handler's error comes of the canceled context, and is not a status of
// its own.
func comesOf(err error) bool {
	if err == nil {
		return false
	}
	if end := (*endError)(nil); errors.As(err, &end) {
		return true
	}
	if st, ok := status.FromError(err); ok {
		return st.Code() == codes.Canceled
	}
	return errors.Is(err, context.Canceled)
}
