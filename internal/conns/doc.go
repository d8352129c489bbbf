// Package conns is the registry of a server's live connections: who each is
// (its key), since when, how busy, and how far on its way out.
//
// It counts what happens to them but decides nothing. A handler finds its
// connection through the address that its peer carries, see FromContext:
// nothing stands in the path of an RPC, and the look-up does not allocate.
package conns
