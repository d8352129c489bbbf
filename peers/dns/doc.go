// Package dns is a source of peers that asks a name: the headless Service of the
// pods, or any name whose records are kept up to date.
//
// Each address is a member by itself, since A and AAAA records do not say which
// belong to one pod. SRV records ("_grpc._tcp.hello.test") do: a target with one
// address of each family is one member. Their port is that of the gRPC service
// and left out; the health endpoint's is peers.port. Each target is looked up
// by itself, so that plain names are the better choice for more than a few pods.
//
// Clients are taken to resolve the same name, of SRV records the one behind _service._proto,
// and nothing is moved before it answers in full, unless clients.dns.name says otherwise. Of a
// name that Options.Server knows this holds only if the configuration names it, too
// (peers.source dns), or clients.dns.name does.
//
// A name that does not exist or has no addresses is an error, not an empty fleet:
// a view without anybody, not even us, is no view. A lookup of which any part
// failed is an error, too: half a fleet would be worse than the last whole one.
package dns
