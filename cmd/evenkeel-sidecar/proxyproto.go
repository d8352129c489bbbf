package main

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// The PROXY protocol, version 2, section 2.2 of HAProxy's specification.
const (
	proxySignature = "\r\n\r\n\x00\r\nQUIT\n"
	proxyLocal     = 0x20 // version 2, LOCAL: the connection is the proxy's own
	proxyProxy     = 0x21 // version 2, PROXY
	proxyUnspec    = 0x00
	proxyTCP4      = 0x11
	proxyTCP6      = 0x21
)

// localHeader begins a connection of the sidecar itself.
func localHeader() []byte {
	return append([]byte(proxySignature), proxyLocal, proxyUnspec, 0, 0)
}

// proxyHeader begins the connection of a client. If the addresses are not of TCP, it says
// nothing about them.
func proxyHeader(from, to net.Addr) []byte {
	src, dst := addrPort(from), addrPort(to)
	if !src.IsValid() || !dst.IsValid() {
		return append([]byte(proxySignature), proxyProxy, proxyUnspec, 0, 0)
	}
	family := byte(proxyTCP4)
	if src.Addr().Is6() || dst.Addr().Is6() {
		family = proxyTCP6
		src, dst = as6(src), as6(dst)
	}
	h := append([]byte(proxySignature), proxyProxy, family)
	h = binary.BigEndian.AppendUint16(h, uint16(2*len(src.Addr().AsSlice())+4))
	h = append(h, src.Addr().AsSlice()...)
	h = append(h, dst.Addr().AsSlice()...)
	h = binary.BigEndian.AppendUint16(h, src.Port())
	return binary.BigEndian.AppendUint16(h, dst.Port())
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

func as6(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(ap.Addr().As16()), ap.Port())
}
