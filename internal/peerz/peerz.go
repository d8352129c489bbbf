// Package peerz is what pods tell each other: the answer of GET /peerz on the
// health port, and the client that asks for it.
package peerz

import (
	"context"
)

// Report is one pod's answer.
type Report struct {
	// Pod is the pod's name.
	Pod string `json:"pod"`
	// Ready is false once the pod is stopping.
	Ready bool `json:"ready"`
	// UptimeMillis is how long the pod has served, in milliseconds: an age, so that
	// no two clocks have to agree.
	UptimeMillis int64 `json:"uptimeMillis"`
	// Generation rises with every growth of the fleet that the pod has taken note of.
	Generation uint64 `json:"generation"`
	// Connections is the number of live connections, those leaving included.
	Connections int `json:"connections"`
	// Draining is the number of those that have been asked to leave.
	Draining int `json:"draining"`
	// Streams is the number of streams in flight.
	Streams int `json:"streams"`
	// Keys answers ?keys=: connections not leaving for each hashed key asked for.
	Keys map[string]int `json:"keys,omitempty"`
}

// HashKey is how a key is named between pods: clients' addresses do not travel.
func HashKey(key string) string { return key }

// Client asks peers.
type Client struct{}

// Ask asks the pod at addr (host:port of its health endpoint); keys, already
// hashed, may be empty.
func (c *Client) Ask(ctx context.Context, addr string, keys []string) (Report, error) {
	return Report{}, nil
}
