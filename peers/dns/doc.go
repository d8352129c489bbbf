// Package dns is a source of peers that looks up a name: that of the pods' headless Service,
// or any other name whose records are kept up to date.
//
// Each address is a member of its own, since A and AAAA records do not show which addresses
// belong to one pod. SRV records ("_grpc._tcp.hello.test") do: a target with one address of
// each family is one member. Their port is ignored, since it is that of the gRPC service.
// The port of the health endpoints is peers.port. Each target is looked up separately, so
// plain names are better for more than a few pods.
//
// Clients are assumed to resolve the same name, or for SRV records the one behind
// _service._proto, unless clients.dns.name is set. No connection is moved before that name
// answers in full. With Options.Server, this is assumed only if the configuration has the
// name (peers.source dns).
//
// A name that does not exist or has no address is an error, not an empty service: a view
// without even this pod is no view. A lookup that failed in part is an error as well: half a
// fleet would be worse than the last whole one.
package dns
