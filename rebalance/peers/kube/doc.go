// Package kube is a source of peers that watches the EndpointSlices of a Kubernetes
// Service. It is the only package of this module that imports client-go.
package kube
