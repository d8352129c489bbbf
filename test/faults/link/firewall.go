package link

import "encoding/binary"

// flow names a TCP connection by both ends, the lower one first.
type flow struct{ low, high end }

type end struct {
	host uint32
	port uint16
}

func (e end) less(o end) bool { return e.host < o.host || e.host == o.host && e.port < o.port }

// firewall passes the packets of TCP connections whose beginning it has seen, as stateful
// firewalls and NATs do. Those of other connections vanish without a reset.
type firewall struct{ known map[flow]bool }

const (
	protocolTCP = 6
	flagSYN     = 0x02
	flagACK     = 0x10
)

// pass reports whether a packet passes. Only TCP over IPv4 is looked at.
func (f *firewall) pass(packet []byte) bool {
	fl, flags, ok := parse(packet)
	if !ok {
		return true
	}
	if flags&(flagSYN|flagACK) == flagSYN {
		f.known[fl] = true
	}
	return f.known[fl]
}

// forget forgets all connections.
func (f *firewall) forget() { clear(f.known) }

// parse returns the flow and the flags of a TCP packet over IPv4.
func parse(p []byte) (fl flow, flags byte, ok bool) {
	if len(p) < 20 || p[0]>>4 != 4 || p[9] != protocolTCP {
		return flow{}, 0, false
	}
	head := int(p[0]&0x0f) * 4
	if len(p) < head+14 {
		return flow{}, 0, false
	}
	tcp := p[head:]
	from := end{binary.BigEndian.Uint32(p[12:]), binary.BigEndian.Uint16(tcp)}
	to := end{binary.BigEndian.Uint32(p[16:]), binary.BigEndian.Uint16(tcp[2:])}
	if to.less(from) {
		from, to = to, from
	}
	return flow{from, to}, tcp[13], true
}
