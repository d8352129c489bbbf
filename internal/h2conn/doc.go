// Package h2conn is one HTTP/2 server connection on the wire that can be asked
// to leave.
//
// A [Conn] sits between grpc-go's server transport and the connection below
// (TCP, or the plaintext side of TLS). It follows the frame headers that pass in
// both directions; it keeps, copies and changes none of the bytes. The set of
// open streams is all it remembers of them.
//
// Asked to leave, it writes GOAWAY(2^31-1, NO_ERROR) and a PING between two
// frames: not before the server's SETTINGS (RFC 9113, section 3.4), not inside
// a header block (4.3), and never after another GOAWAY, since the last stream
// id must not rise (6.8). Before that it sends another PING and holds the
// server's writes until the client has acknowledged it, for 100 ms at most, so
// that the GOAWAY stands behind no end of a stream in what the client reads: some
// clients refuse an RPC that they begin between the two. Then it walks
//
//	Open -> Asked -> Acknowledged -> Quiet -> Closed
//
// Acknowledged: the PING came back, so the client knows. Quiet: no stream is
// open; a second PING proves, where it has to, that the client has read the
// last trailers. The client now has Config.Linger to close; those that never do
// (Java) are closed from here: half-close, wait for their EOF, close. A stream
// that opens in a quiet connection leads back to Acknowledged.
//
// A GOAWAY that the server writes itself (MaxConnectionAge, GracefulStop)
// passes and is reported; such a connection stays Asked, and closing it is
// left to grpc-go. Who ended a connection is told by [How].
//
// A connection whose frames cannot be followed (see [Conn.Lost]) is left alone:
// its bytes pass as before, nothing is ever written to it.
package h2conn
