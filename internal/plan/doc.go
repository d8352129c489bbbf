// Package plan decides which connections are drained, when, and explains why none is.
//
// It is pure: a View and a State go in, a Step and the next State come out. It
// reads no clock, takes no lock and does no I/O, so that a simulation runs the
// very code that ships. Time is a duration since an epoch that the caller
// chose; only differences matter.
//
// Each concern has a file of its own:
//
//	growth.go    notices that the membership has grown
//	reach.go     makes new pods known to multi-homed clients: one GOAWAY per channel
//	channels.go  chooses the connections that reach drains
//	returns.go   finds the clients that did not come back: they are single-homed
//	owner.go     which pod drains a key's connections, and which pod is its witness
//	inquiry.go   queries other pods for the keys that this pod owns
//	band.go      the loads of the pods, and which of them are outside the band
//	even.go      moves single-homed clients until all pods are inside
//	timing.go    how long evenness waits before a round
//	verdict.go   explains why evenness moves nothing
//	choose.go    chooses the connections that evenness drains
//	witness.go   leaves out multi-homed clients, which other pods hold as often
//	stuck.go     explains why no connection could be chosen
//	trial.go     whether rounds change anything, and the pause if they do not
//	age.go       the backstop age, with jitter and at a bounded rate
//	pace.go      how fast: the spread, a rate, and a share of the connections
package plan
