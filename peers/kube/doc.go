// Package kube is a source of peers that watches the EndpointSlices of a Kubernetes
// Service. It is the only package of this module that imports client-go.
//
// A pod is one member, over all slices and both address families. Pods that are not
// ready are left out, those that terminate are marked. Where two slices have a pod, the newest
// slice's word counts. The view is renewed while the watch is open, and ages otherwise.
// A connection that is silent is asked for a sign of life after 10 s and given up 5 s later.
// A watch whose headers do not come is given up after 30 s.
//
// The pods' service account needs list and watch for endpointslices in its namespace.
// Without watch, the slices are listed each 10 s and a warning says so. Whatever else is
// missing is named by Membership.Err, and mends without a restart.
//
// After a failure it pauses for 1 to 2 s, doubled up to 16 to 32 s; no more than 1
// request a second leaves in the long run.
package kube
