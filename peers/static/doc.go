// Package static is a source of peers from a fixed list: for a fixed set of servers, and for
// trying things out.
//
// An entry is "host", "host:port", or an IPv6 address with or without brackets. The port is
// that of the health endpoint; without one, peers.port applies. Names are looked up with the
// system's resolver, and again every 30 s. An entry is one pod. A name with several
// addresses of one family is one pod for each. Pods are told apart by their addresses, so
// one address with several ports is refused: it would be one pod.
//
// A list cannot know which pods serve, so its members are Unproven: each counts only while
// its health endpoint answers.
package static
