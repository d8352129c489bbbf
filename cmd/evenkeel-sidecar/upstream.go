package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// dialTimeout is long for loopback. A server that accepts nothing for so long is away.
	dialTimeout = 5 * time.Second
	// checkAwayEvery and checkEvery are how often the upstream is checked, while it is away and
	// otherwise. Each failed connection of a client also counts as a check.
	checkAwayEvery = 250 * time.Millisecond
	checkEvery     = 5 * time.Second
)

// upstream is the server behind the sidecar.
type upstream struct {
	network, addr string
	proxyProtocol bool
	changed       func(away error, before bool) // is called with each change; before: it was reached before
	dial          func(ctx context.Context) (net.Conn, error)
	wake          chan struct{}

	mu      sync.Mutex // guards what follows
	away    error      // why it cannot be reached; nil if it can
	shown   error      // that of the latest call of changed
	showing bool       // a call of changed is under way
	known   bool       // it was reached before
	failed  uint64     // connections of clients that were refused
}

var errNotChecked = errors.New("it has not been checked yet")

func newUpstream(o *options, changed func(away error, before bool)) *upstream {
	network, addr := splitUpstream(o.upstream)
	d := net.Dialer{Timeout: dialTimeout}
	return &upstream{
		network: network, addr: addr, proxyProtocol: o.proxyProtocol, changed: changed,
		dial: func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, network, addr) },
		wake: make(chan struct{}, 1), away: errNotChecked, shown: errNotChecked,
	}
}

// String is the address as the flag has it.
func (u *upstream) String() string {
	if u.network == "unix" {
		return "unix:" + u.addr
	}
	return u.addr
}

// connect returns a connection for this client, after the header if there is one.
func (u *upstream) connect(ctx context.Context, client net.Conn) (net.Conn, error) {
	nc, err := u.begin(ctx, client)
	u.note(err)
	if err != nil {
		u.mu.Lock()
		u.failed++
		u.mu.Unlock()
	}
	return nc, err
}

// begin connects and writes the header. A nil client means that the connection is the sidecar's
// own.
func (u *upstream) begin(ctx context.Context, client net.Conn) (net.Conn, error) {
	nc, err := u.dial(ctx)
	if err != nil {
		return nil, rootCause(err)
	}
	if !u.proxyProtocol {
		return nc, nil
	}
	header := localHeader()
	if client != nil {
		header = proxyHeader(client.RemoteAddr(), client.LocalAddr())
	}
	if _, err := nc.Write(header); err != nil {
		_ = nc.Close()
		return nil, rootCause(err)
	}
	return nc, nil
}

// check connects and closes the connection again.
func (u *upstream) check(ctx context.Context) {
	nc, err := u.begin(ctx, nil)
	if err == nil {
		_ = nc.Close()
	}
	if ctx.Err() == nil {
		u.note(err)
	}
}

// watch checks the upstream until ctx is done.
func (u *upstream) watch(ctx context.Context) error {
	for {
		u.check(ctx)
		every := checkEvery
		if u.Err() != nil {
			every = checkAwayEvery
		}
		select {
		case <-ctx.Done():
			return nil
		case <-u.wake:
		case <-time.After(every):
		}
	}
}

// recheck makes watch check at once: the upstream has ended a connection.
func (u *upstream) recheck() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// note takes the result of an attempt to connect.
func (u *upstream) note(err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		return // that says nothing about the upstream
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if err != nil && text(err) != text(u.away) {
		u.recheck()
	}
	u.away, u.known = err, u.known || err == nil
	u.showLocked()
}

// showLocked calls changed, one call at a time, until it has been given what is true now.
func (u *upstream) showLocked() {
	if u.showing {
		return // that goroutine makes the calls
	}
	u.showing = true
	for text(u.shown) != text(u.away) {
		away, known := u.away, u.known
		u.shown = away
		u.mu.Unlock()
		u.changed(away, known)
		u.mu.Lock()
	}
	u.showing = false
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Err returns why the upstream cannot be reached, nil if it can. It is a check of /readyz.
func (u *upstream) Err() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.away == nil {
		return nil
	}
	return fmt.Errorf("cannot reach %s: %w", u, u.away)
}

// refused returns how many connections of clients were refused.
func (u *upstream) refused() uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.failed
}

// rootCause strips from err the name of the call and the address, which package net puts
// before the cause.
func rootCause(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		err = call.Err
	}
	return err
}
