// Package h1conn drains single HTTP/1.1 server connections, in the answers of the server.
//
// HTTP/1.1 has no GOAWAY. The only harmless way to end a connection is an answer that says
// "Connection: close": its client has no other request under way, and sends none after it. So
// a [Conn] does not look at bytes. The server calls it with each request and each answer, and
// asks it by [Conn.Last] whether an answer must be the last one.
//
// A drained connection without a request stays open until its client's next request, or until
// its client or the server closes it as it would without a drain. Closing an idle connection
// could cross the client's next request, which the client could not safely repeat.
package h1conn
