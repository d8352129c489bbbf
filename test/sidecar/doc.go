// Package sidecar tests cmd/evenkeel-sidecar with real processes on loopback, before servers in
// several languages that know nothing of it. README.md has its figures.
package sidecar
