package demo

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-go/evenkeel/example/fleet"
)

// The ways from clients to pods, as -via names them. A sidecar changes what a pod is, and not
// how clients reach it: they do so as with viaHeadless.
const (
	viaHeadless  = "headless"
	viaClusterIP = "clusterip"
	viaGateway   = "gateway"
	viaSidecar   = "sidecar"
)

var vias = []string{viaHeadless, viaClusterIP, viaGateway, viaSidecar}

const (
	// singleLimit is evenLimit where each channel has one connection. A pod with one connection
	// more than the mean of four cannot be evened out.
	singleLimit = 1.45
	// singleEven is promisedEven there: rounds of moves wait for the outcome of the last one.
	singleEven = time.Minute
	// singleWatch is the least -watch there.
	singleWatch = 90 * time.Second
	// maxSources is the number of addresses 127.0.9.N.
	maxSources = 250
)

// singleHomed reports whether each channel has one connection.
func (o *options) singleHomed() bool { return o.via == viaClusterIP || o.via == viaGateway }

// limit returns how much more than the mean a pod may answer if the calls are even.
func (o *options) limit() float64 {
	if o.singleHomed() {
		return singleLimit
	}
	return evenLimit
}

// promise returns how soon the calls must be even.
func (o *options) promise() time.Duration {
	if o.singleHomed() {
		return singleEven
	}
	return promisedEven
}

// checkVia appends what is wrong with -via.
func (o *options) checkVia(wrong func(bad bool, format string, args ...any)) {
	wrong(!slices.Contains(vias, o.via), "-via %q: want %s", o.via, strings.Join(vias, ", "))
	wrong(o.singleHomed() && (o.dnsLag > 0 || o.dnsNever), "-via %s and a DNS that lags exclude each other: its clients do not resolve the pods", o.via)
	wrong(o.via == viaClusterIP && o.oneKey, "-via clusterip and -one-key exclude each other")
	wrong(o.via == viaClusterIP && o.clients*o.channels > maxSources, "-via clusterip: want at most %d channels in all", maxSources)
	if o.singleHomed() {
		o.watch = max(o.watch, singleWatch)
	}
}

// source returns the address of client i, or of its first channel.
func (c *column) source(i int) string {
	switch {
	case c.o.oneKey:
		i = 0
	case c.o.via == viaClusterIP: // each channel is a client of its own
		i *= c.o.channels
	}
	return fmt.Sprintf("127.0.9.%d", 1+i)
}

// vipAddr returns where clients of a ClusterIP connect.
func (c *column) vipAddr() string { return fmt.Sprintf("%s:%d", c.host(240), c.ports.grpc) }

// startVIP starts the ClusterIP, if the clients need one.
func (c *column) startVIP() (err error) {
	if c.o.singleHomed() {
		c.vip, err = fleet.ListenVIP(c.vipAddr())
	}
	return err
}

// routeLocked passes new connections on to the members.
func (c *column) routeLocked() {
	if c.vip == nil {
		return
	}
	var pods []string
	for _, name := range c.members {
		s := c.servers[name]
		if c.o.via == viaGateway {
			pods = append(pods, c.webOf(s.Spec.Host))
		} else {
			pods = append(pods, s.GRPC())
		}
	}
	c.vip.Set(pods...)
}

// webOf returns the address of a pod's gateway, or of the server behind its sidecar.
func (c *column) webOf(host string) string { return fmt.Sprintf("%s:%d", host, c.ports.web) }

// clientOf returns the target of client i and its further flags.
func (c *column) clientOf(i int) (target string, args []string) {
	switch c.o.via {
	case viaClusterIP:
		return "passthrough:///" + c.vipAddr(), []string{"-lb", "pick_first", "-source-each"}
	case viaGateway:
		return c.vipAddr(), []string{"-over-http"}
	}
	return fmt.Sprintf("dns://%s/%s:%d", c.clientDNS(i), clientsName, c.ports.grpc), nil
}

// wantedLocked returns the number of connections that the clients make in all.
func (c *column) wantedLocked() int {
	if c.o.singleHomed() {
		return c.channels()
	}
	return c.channels() * len(c.members)
}
