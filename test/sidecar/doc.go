// Package sidecar tests cmd/evenkeel-sidecar with real processes on loopback, in front of servers in
// several languages that know nothing of it. README.md has its figures.
package sidecar
