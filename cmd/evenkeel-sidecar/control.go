package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"
)

// The sidecar listens for -drain on a socket whose name is in the network namespace of the pod
// and in no file system. Its own user and root may connect. Whoever connects makes the sidecar
// drain, and reads to the end of the connection to know that it has.

func controlName(listen string) string { return "@evenkeel-sidecar/" + listen }

// drained is the answer once the sidecar has drained.
const drained = "drained\n"

// askToDrain is -drain.
func askToDrain(listen string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unix", controlName(listen))
	if err != nil {
		return fmt.Errorf("-drain: no sidecar with -listen %s answers in this pod: %w", listen, rootCause(err))
	}
	defer nc.Close()
	answer, err := io.ReadAll(nc)
	if err == nil && string(answer) != drained {
		err = fmt.Errorf("the sidecar has refused or ended (%q)", answer)
	}
	if err != nil {
		return fmt.Errorf("-drain: %w", err)
	}
	return nil
}

// serveControl drains at the first request, and answers all of them when it has.
func (a *app) serveControl(ctx context.Context, ln net.Listener) error {
	if ln == nil {
		return nil
	}
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
	for {
		nc, err := ln.Accept()
		if err != nil {
			return nil // it is closed at the end; without it only -drain is missing
		}
		go a.control(nc)
	}
}

func (a *app) control(nc net.Conn) {
	defer nc.Close()
	if err := mayControl(nc); err != nil {
		a.log.Warn("-drain was refused", "error", err)
		return
	}
	a.log.Info("draining, as -drain has requested")
	a.drain()
	_, _ = io.WriteString(nc, drained)
}
