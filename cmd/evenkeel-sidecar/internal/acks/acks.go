// Package acks hides from an upstream that its client has acknowledged PINGs of the sidecar's. The
// upstream has sent none, and some servers end a connection with an acknowledgement that they
// have not asked for. All other bytes pass unchanged.
//
// An upstream that uses evenkeel itself sends PINGs with the same payloads. As long as the sidecar
// has sent none, acknowledgements of these are the upstream's, and pass.
package acks

import (
	"golang.org/x/net/http2"

	"github.com/evenkeel-go/evenkeel/cmd/evenkeel-sidecar/internal/pass"
	"github.com/evenkeel-go/evenkeel/internal/h2conn"
)

const (
	headerLen = 9
	pingLen   = headerLen + 8
)

// Filter is an upstream that gets no acknowledgement of the sidecar's PINGs.
type Filter struct {
	pass.Side

	pinged  func() bool
	preface int  // bytes of the client's preface that have passed
	other   bool // the client does not speak HTTP/2
	rest    int  // bytes of the payload still to come
	held    [pingLen]byte
	have    int // bytes in held: the beginning of a frame, which may be such an acknowledgement
}

// New returns a Filter before an upstream. It calls pinged for each acknowledgement of a PING of
// evenkeel's. pinged reports whether the sidecar may have sent that PING.
func New(upstream pass.Side, pinged func() bool) *Filter {
	return &Filter{Side: upstream, pinged: pinged}
}

// Write passes p on without acknowledgements of the sidecar's PINGs. The end of p is kept for the
// next Write if it may begin one: at most 16 bytes.
func (f *Filter) Write(p []byte) (int, error) {
	from, at := 0, 0 // p[from:at] is to be passed on
	for at < len(p) {
		if n := f.inside(p[at:]); n > 0 {
			at += n
			continue
		}
		if f.have == 0 && len(p)-at >= pingLen {
			if isOwnAck(p[at:]) && f.pinged() {
				if err := f.pass(p[from:at]); err != nil {
					return from, err
				}
				at += pingLen
				from = at
				continue
			}
			f.rest = payload(p[at:])
			at += headerLen
			continue
		}
		if err := f.pass(p[from:at]); err != nil {
			return from, err
		}
		n, err := f.hold(p[at:])
		if err != nil {
			return at, err
		}
		at += n
		from = at
	}
	if err := f.pass(p[from:]); err != nil {
		return from, err
	}
	return len(p), nil
}

// pass passes bytes on, if there are any.
func (f *Filter) pass(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	_, err := f.Side.Write(p)
	return err
}

// inside returns how many of the next bytes belong to no header of a frame.
func (f *Filter) inside(p []byte) int {
	switch {
	case f.other:
		return len(p)
	case f.preface < len(http2.ClientPreface):
		want := http2.ClientPreface[f.preface:]
		n := min(len(p), len(want))
		f.other = string(p[:n]) != want[:n]
		f.preface += n
		return n
	}
	n := min(len(p), f.rest)
	f.rest -= n
	return n
}

// hold keeps the beginning of a frame until it is known what it is. It returns how many bytes
// of p it has taken.
func (f *Filter) hold(p []byte) (int, error) {
	want := headerLen
	if f.have >= headerLen {
		want = pingLen
	}
	n := copy(f.held[f.have:want], p)
	f.have += n
	switch {
	case f.have < want, want == headerLen && isAck(f.held[:]):
		return n, nil
	case want == pingLen && h2conn.OwnPing(f.held[headerLen:]) && f.pinged():
		f.have = 0
		return n, nil
	case want == headerLen:
		f.rest = payload(f.held[:])
	}
	return n, f.release()
}

// release passes on what is held.
func (f *Filter) release() error {
	n := f.have
	f.have = 0
	return f.pass(f.held[:n])
}

// CloseWrite passes on what is held, and the end.
func (f *Filter) CloseWrite() error {
	if err := f.release(); err != nil {
		return err
	}
	return f.Side.CloseWrite()
}

// payload returns the length of a frame's payload.
func payload(h []byte) int { return int(h[0])<<16 | int(h[1])<<8 | int(h[2]) }

// isAck reports whether a header is that of an acknowledgement of a PING.
func isAck(h []byte) bool {
	return http2.FrameType(h[3]) == http2.FramePing && http2.Flags(h[4]).Has(http2.FlagPingAck) && payload(h) == pingLen-headerLen
}

// isOwnAck reports whether a whole frame acknowledges a PING of evenkeel's, of whichever side.
func isOwnAck(frame []byte) bool { return isAck(frame) && h2conn.OwnPing(frame[headerLen:pingLen]) }
