// Package peers is the contract between a Balancer and a source of the pods of its service:
// a [Source] reports a [Membership] each time it changes.
//
// The packages below it implement the contract: static for a list of addresses, dns for a
// name, and kube for the EndpointSlices of a Kubernetes Service.
package peers
