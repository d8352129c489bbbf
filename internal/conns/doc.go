// Package conns is the registry of a server's live connections: the client of each (its
// key), its age, its load, and how far it is drained.
//
// The registry counts what happens to connections but decides nothing. A handler finds its
// connection by the address of its peer, see FromContext. That adds nothing to the path of
// an RPC, and the lookup does not allocate.
package conns
