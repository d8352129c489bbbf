// Package interop tests that clients of many implementations lose no RPC while their connections
// are drained, and that no socket is left open. Each of three servers drains all its connections
// every two seconds, one server after the other.
//
// The tests have the build tag interop. run.sh installs and builds their dependencies and runs
// them.
package interop
