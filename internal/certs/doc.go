// Package certs provides mutual TLS between pods from three files: a certificate, its key,
// and the CA that signs those of all pods. The files may change at any time.
//
// [Store] reads the files when they are needed, at most once a second, and compares their
// content: Kubernetes updates a mounted Secret by the swap of a symbolic link two levels
// up. New files count from the next handshake on. Bad files change nothing and are
// reported.
package certs
