//go:build !linux

package main

import (
	"context"
	"errors"
	"net"
)

var errNoControl = errors.New("-drain needs Linux")

func listenControl(context.Context, string) (net.Listener, error) { return nil, errNoControl }

func mayControl(net.Conn) error { return errNoControl }
