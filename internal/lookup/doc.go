// Package lookup queries DNS the way the clients of a gRPC service do.
//
// [Resolver] queries one server, or those of the system, for the addresses of a name. A
// name that does not exist is an empty answer. Every other failure is an [*Error] that
// names the server and the name: a caller must never mistake broken DNS for a service
// without pods.
//
// [Gate] answers one question: would a client that resolves the name now see every ready
// pod? Connections may be moved only then. A GOAWAY that is sent before DNS has caught up
// is wasted: the client gets the old answer, and does not resolve again before it loses
// its next connection. [GateState] is the decision of the gate alone.
//
// No constructor starts a goroutine: the caller owns [Gate.Run].
package lookup
