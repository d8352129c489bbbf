// Package interop tests that clients of many implementations lose no RPC while all their
// connections are drained every two seconds, one server after the other, and that no socket is
// left open. Its tests have the build tag interop. run.sh installs and builds their dependencies
// and runs them.
package interop
