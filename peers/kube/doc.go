// Package kube is a source of peers that watches the EndpointSlices of a Kubernetes
// Service. It is the only package of this module that imports client-go.
//
// A pod is one member, merged from all slices and both address families. Pods that are not
// ready are left out, and terminating ones are marked. If two slices have the same pod, the
// newest slice counts.
//
// The view is renewed while the watch is open, and ages otherwise. A silent connection is
// pinged after 10 s and given up 5 s later. A watch without headers is given up after 30 s.
//
// The service account of the pods needs the verbs list and watch for endpointslices in its
// namespace. Without watch, the slices are listed every 10 s and a warning says so. Anything
// else that is missing is reported by Membership.Err, and can be mended without a restart.
//
// After a failure the source pauses for 1 to 2 s, and longer after each further one, up to
// 16 to 32 s. In the long run it sends at most one request a second.
package kube
