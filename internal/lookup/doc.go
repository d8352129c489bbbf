// Package lookup asks the DNS in the way that the clients of a gRPC service do.
//
// [Resolver] asks one server, or those of the system, for the addresses of a
// name. A name that does not exist is an empty answer, everything else that goes
// wrong is an [*Error] that names the server and the name: a caller must never
// take a broken DNS for a service without pods.
//
// [Gate] answers one question: would a client that resolves the name now be told
// of every ready pod? Only then may connections be moved, for a GOAWAY that comes
// before the DNS does is wasted: the client gets the old answer and does not ask
// again before it loses the next connection.
//
// Both do nothing in their constructors: the caller owns [Gate.Run].
package lookup
