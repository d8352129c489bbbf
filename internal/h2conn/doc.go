// Package h2conn drains single HTTP/2 server connections, on the wire.
//
// A [Conn] sits between grpc-go's server transport and the connection below it:
// a TCP connection, or the plaintext side of TLS. It follows the frame headers
// in both directions, and changes none of the bytes. It remembers the set of open
// streams. Of the first requests it reads the path, to tell health checks from calls.
//
// # Draining
//
// [Conn.Drain] writes GOAWAY(2^31-1, NO_ERROR) and a PING between two frames of
// the server. RFC 9113 restricts where a GOAWAY may stand:
//   - not before the server's SETTINGS (section 3.4);
//   - not inside a header block (section 4.3);
//   - never after another GOAWAY, since the last stream ID must not rise
//     (section 6.8).
//
// The connection then walks through these states:
//
//	Open -> Draining -> Acknowledged -> Idle -> Closed
//
// It is Acknowledged once the PING has come back: the client has read the
// GOAWAY. It is Idle once no stream is open. If streams have ended since the first
// PING, a second one proves that the client has read the last trailers. The client
// then has Config.Linger to close the connection. A stream that opens in an Idle
// connection leads back to Acknowledged.
//
// Some clients (Java) never close a drained connection. For those, the Conn says a
// last word: a GOAWAY with the newest stream that the server has read. What the
// client sends after it does not reach the server. The Conn then half-closes the
// connection, waits for the client's EOF, and closes it.
//
// # The hold
//
// Some clients begin an RPC as soon as they see a stream end, and refuse that RPC
// themselves if a GOAWAY follows in the same read. So what a client reads must
// never contain the end of a stream and then the GOAWAY. Before the GOAWAY, the
// Conn sends another PING and holds the server's writes until the client
// acknowledges it, for at most 1 s.
//
// # Who closes
//
// A GOAWAY that the server writes itself (MaxConnectionAge, GracefulStop) passes
// through, and the [Observer] is notified. Such a connection stays Draining, and
// grpc-go closes it. [How] names the side that ended a connection.
//
// # Lost frames
//
// If the frames of a connection cannot be followed, it is left alone: its bytes
// pass as before, and nothing is ever injected. See [Conn.Lost].
package h2conn
