// Package static is a source of peers that are written down: for a fixed set of
// servers, and for trying things out.
//
// An entry is "host", "host:port", or an IPv6 address with or without brackets;
// the port is that of the health endpoint, peers.port where there is none. Names
// are resolved with the system's resolver, again every 30 s. An entry is one
// pod; a name with several addresses of one family is one pod for each.
//
// A list cannot know who serves, so its members are Unproven: each counts only
// while its health endpoint answers.
package static
