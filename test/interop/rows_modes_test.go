//go:build interop

package interop

import (
	"slices"
	"strings"
)

// multiHomed are the rows of CI whose clients have a connection to each of three servers.
func multiHomed() []row {
	usual := rows()
	var out []row
	for _, name := range []string{
		"grpc-go round_robin", "grpc-js round_robin", "connect-node", "Python round_robin", "Ruby round_robin", "C++ round_robin",
		"Java round_robin", "Python 1.85 round_robin", "Python 1.85 aio round_robin", "Java 1.85 round_robin", "Envoy",
	} {
		r := usual[slices.IndexFunc(usual, func(r row) bool { return r.name == name })]
		r.half = false
		out = append(out, r)
	}
	return out
}

// togetherRows get a GOAWAY from each of the three servers within a few milliseconds. A call that one of them
// refused may be retried on the connection of another.
func togetherRows() []row {
	out := slices.Concat(multiHomed(), oldRows())
	for i := range out {
		out[i].name, out[i].together = strings.TrimSuffix(out[i].name, " round_robin")+" together", true
	}
	return out
}

// hurriedRows have a deadline of 1 s, so that a call that waits for a new connection for long fails.
func hurriedRows() []row {
	out := slices.Concat(multiHomed(), oldRows())
	out = slices.DeleteFunc(out, func(r row) bool { return r.proxy != nil })
	for i := range out {
		out[i].name, out[i].load.deadline = strings.TrimSuffix(out[i].name, " round_robin")+" deadlines", 1
	}
	return out
}
