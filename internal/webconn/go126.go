//go:build !go1.27

package webconn

// anyTLS reports whether net/http serves HTTP/2 on connections that are no *tls.Conn but have
// its ConnectionState method.
const anyTLS = false
