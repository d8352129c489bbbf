package fleet

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
)

// portTries is how many ports are tried before giving up.
const portTries = 500

// FreePort returns the first port, counting from first, that is free on every host
// for TCP and UDP and is not in taken. Another program may take the port before
// the caller uses it: no system can promise more.
func FreePort(hosts []string, first int, taken ...int) (int, error) {
	for port := first; port < first+portTries; port++ {
		if !slices.Contains(taken, port) && freeOnAll(hosts, port) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("fleet: no port from %d to %d is free on all of %v", first, first+portTries-1, hosts)
}

// HoldPort is FreePort for programs that may start at the same moment. Until the
// closer is closed, it listens on the port at guard, an address that nothing else
// uses. Another call with the same guard therefore gets another port.
func HoldPort(hosts []string, guard string, first int, taken ...int) (int, io.Closer, error) {
	for port := first; port < first+portTries; port++ {
		if slices.Contains(taken, port) {
			continue
		}
		hold, err := net.Listen("tcp", net.JoinHostPort(guard, strconv.Itoa(port)))
		if err != nil {
			continue
		}
		if freeOnAll(hosts, port) {
			return port, hold, nil
		}
		_ = hold.Close()
	}
	return 0, nil, fmt.Errorf("fleet: no port from %d to %d is free on all of %v and %s", first, first+portTries-1, hosts, guard)
}

func freeOnAll(hosts []string, port int) bool {
	for _, host := range hosts {
		addr := net.JoinHostPort(host, strconv.Itoa(port))
		tcp, err := net.Listen("tcp", addr)
		if err != nil {
			return false
		}
		_ = tcp.Close()
		udp, err := net.ListenPacket("udp", addr)
		if err != nil {
			return false
		}
		_ = udp.Close()
	}
	return true
}
