// Package certs is mutual TLS between pods from files that may change at any time: a
// certificate, its key, and the CA that signs those of all pods.
//
// [Store] looks at the files when they are needed, once a second at most, and reads
// their content: Kubernetes brings a changed Secret by the swap of a symbolic link two
// levels up. New files count with the next handshake; bad ones change nothing and are
// told of.
package certs
