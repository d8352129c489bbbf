// Package interop proves that clients of other makes lose no RPC while all
// their connections are asked to leave every two seconds, one server after the
// other, and that no socket is left behind. Its test has the build tag interop;
// run.sh installs and builds what it needs and runs it.
package interop
