// Package demo runs the demo program as a user would, with real server and client processes. It
// covers each scenario that the demo makes a promise about.
package demo
