package lookup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
)

// parallel bounds the concurrent lookups of one call of AddrsOfAll.
const parallel = 8

// Lookuper looks up addresses. [Resolver] implements it.
type Lookuper interface {
	Addrs(ctx context.Context, name string) ([]netip.Addr, error)
}

// Result is the answer for one of many names.
type Result struct {
	Addrs []netip.Addr
	Err   error
}

// AddrsOfAll looks up names, a few at a time, and returns the results in the same order.
// ctx bounds the whole call.
func AddrsOfAll(ctx context.Context, l Lookuper, names []string) []Result {
	results := make([]Result, len(names))
	next := make(chan int, len(names))
	for i := range names {
		next <- i
	}
	close(next)
	var wg sync.WaitGroup
	for range min(parallel, len(names)) {
		wg.Go(func() {
			for i := range next {
				results[i].Addrs, results[i].Err = l.Addrs(ctx, names[i])
			}
		})
	}
	wg.Wait()
	return results
}

// Host returns the host name behind a name of SRV records (RFC 2782), without
// _service._proto: the name that clients resolve. For a headless Service both names stand
// for the same pods. Any other name is its own host.
func Host(name string) string {
	host := name
	for strings.HasPrefix(host, "_") {
		_, host, _ = strings.Cut(host, ".")
	}
	return cmp.Or(host, name)
}

// Pods groups the addresses of one host by pod. A host with one address of each family is
// one pod with two addresses. Otherwise each address is a pod of its own: DNS does not say
// which ones belong together.
func Pods(addrs []netip.Addr) [][]netip.Addr {
	var v4, v6 int
	for _, a := range addrs {
		if a.Unmap().Is4() {
			v4++
		} else {
			v6++
		}
	}
	if v4 == 1 && v6 == 1 {
		return [][]netip.Addr{addrs}
	}
	pods := make([][]netip.Addr, len(addrs))
	for i := range addrs {
		pods[i] = addrs[i : i+1 : i+1]
	}
	return pods
}

// SplitHostPort splits "host", "host:port", "[v6]", "[v6]:port" and a bare IPv6 address.
// port is 0 if there is none. SplitHostPort fails if host is neither an address nor a
// valid name, or if port is not from 1 to 65535.
func SplitHostPort(s string) (host string, port int, err error) {
	if host, ok := withoutPort(s); ok {
		return host, 0, checkHost(host)
	}
	host, service, err := net.SplitHostPort(s)
	if err != nil {
		// Go's message repeats s, which the caller adds in any case.
		return "", 0, errors.New("not of the form host or host:port")
	}
	p, err := strconv.ParseUint(service, 10, 16)
	if err != nil || p == 0 {
		return "", 0, fmt.Errorf("port %q is not from 1 to 65535", service)
	}
	return host, int(p), checkHost(host)
}

// withoutPort returns the host of s if s has no port.
func withoutPort(s string) (host string, ok bool) {
	if _, err := netip.ParseAddr(s); err == nil {
		return s, true
	}
	if inner, found := strings.CutPrefix(s, "["); found {
		inner, found = strings.CutSuffix(inner, "]")
		return inner, found
	}
	return s, !strings.Contains(s, ":")
}

func checkHost(host string) error {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return checkName(host)
	}
	// Go accepts anything as a zone, even brackets.
	if strings.ContainsFunc(strings.ReplaceAll(ip.Zone(), ".", ""), notInName) {
		return fmt.Errorf("zone %q is not the name of a network interface", ip.Zone())
	}
	return nil
}

// checkName refuses names that RFC 1035, section 2.3.4, does not allow. Go's resolver would
// report them as names that do not exist.
func checkName(name string) error {
	labels := strings.Split(strings.TrimSuffix(name, "."), ".")
	if len(name) > 254 {
		return errors.New("the name is longer than 253 characters")
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, notInName) {
			return errors.New("not a domain name")
		}
	}
	return nil
}

func notInName(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
		return false
	}
	return true
}

// SharedHost returns the first two entries of a list of "host" and "host:port" that have the
// same host but different ports. ok is false if there are none. Pods are told apart by
// their addresses, so two such entries cannot stand for two pods. Entries that cannot be
// split are left out.
func SharedHost(list []string) (first, second int, ok bool) {
	type seen struct{ at, port int }
	hosts := make(map[string]seen, len(list))
	for i, s := range list {
		host, port, err := SplitHostPort(s)
		if err != nil {
			continue
		}
		host = strings.ToLower(host)
		if ip, err := netip.ParseAddr(host); err == nil {
			host = ip.Unmap().String()
		}
		before, found := hosts[host]
		if found && before.port != port {
			return before.at, i, true
		}
		if !found {
			hosts[host] = seen{i, port}
		}
	}
	return 0, 0, false
}
