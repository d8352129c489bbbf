// Package plan decides which connections are drained and when, and gives the reason if none
// is.
//
// It is pure: a View and a State go in, a Step and the next State come out. It
// reads no clock, takes no lock and does no I/O, so that a simulation can
// run the code that ships. Time is a duration since an epoch of the caller's choice; only
// differences matter.
//
// Each concern has a file of its own:
//
//	growth.go    notices that the membership has grown
//	reach.go     makes new pods known to multi-homed clients: one GOAWAY per channel
//	channels.go  chooses the connections that reach drains
//	returns.go   finds the clients that did not come back: they are single-homed
//	owner.go     decides which pod drains a key's connections, and which pod is its witness
//	inquiry.go   queries other pods for the keys that this pod owns
//	band.go      compares the loads of the pods with the band
//	even.go      moves single-homed clients until all pods are inside
//	timing.go    decides how long evenness waits before a round
//	verdict.go   explains why evenness moves nothing
//	choose.go    chooses the connections that evenness drains
//	witness.go   leaves out multi-homed clients, of which other pods have as many connections
//	stuck.go     explains why no connection could be chosen
//	trial.go     checks that rounds change something, and pauses if they do not
//	age.go       applies the backstop age, with jitter and at a bounded rate
//	pace.go      limits the pace by the spread, a rate and a share of the connections
package plan
