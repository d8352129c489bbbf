// Package reason lists why a connection is drained: the label of
// evenkeel_goaways_total{reason}, which dashboards rely on. It has one owner, so that
// planning, the registry and the health endpoint cannot differ.
package reason

// Reason is why a connection got its GOAWAY.
type Reason string

// The reasons, in the order in which they are shown.
const (
	// Reach makes new pods known to a multi-homed client.
	Reach Reason = "reach"
	// Even moves load from a fuller pod to an emptier one.
	Even Reason = "even"
	// Age is policy.maxConnectionAge.
	Age Reason = "age"
	// Expiry: the client's certificate expires (policy.closeAtExpiry).
	Expiry Reason = "expiry"
	// Overload sheds load below the mean.
	Overload Reason = "overload"
	// Evacuation: the pod lives, but the Service does not list it.
	Evacuation Reason = "evacuation"
	// Shutdown: the pod is stopping.
	Shutdown Reason = "shutdown"
	// Manual: a handler or an operator drained the connection.
	Manual Reason = "manual"
	// Server: the gRPC server wrote the GOAWAY itself (GracefulStop, MaxConnectionIdle, a
	// MaxConnectionAge of the user's).
	Server Reason = "server"
)

// All returns every Reason, in a slice of the caller's own.
func All() []Reason {
	return []Reason{Reach, Even, Age, Expiry, Overload, Evacuation, Shutdown, Manual, Server}
}
