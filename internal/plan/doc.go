// Package plan decides which connections are drained and when, and gives the reason if none
// is.
//
// It is pure: a View and a State go in, a Step and the next State come out. It
// reads no clock, takes no lock and does no I/O, so that a simulation can
// run the code that ships. Time is a duration since an epoch of the caller's choice; only
// differences matter.
//
// What is known comes in through members.go, which decides which pods count and since when
// they have been quiet. Two rules move connections, reach and evenness, and a pod that is out
// of the Service has a rule of its own. Each concern has a file:
//
//	view.go       what a decision depends on
//	plan.go       the settings, the state, and the order of the rules
//	timing.go     the times of all rules
//	members.go    which pods count, and since when they have been quiet
//
//	growth.go     notices that the membership has grown
//	reach.go      makes new pods known to multi-homed clients: one GOAWAY per channel
//	channels.go   chooses the connections that reach drains
//	subset.go     drains channels that are on some of the pods, once each
//	returns.go    finds the clients that did not come back: they are single-homed
//	owner.go      decides which pod drains a key's connections, and which pod is its witness
//	inquiry.go    queries other pods for the keys that this pod owns
//
//	even.go       moves single-homed clients until all pods are inside the band
//	band.go       compares the loads of the pods with the band, by their shares
//	flight.go     learns whether drained connections land, and when
//	choose.go     chooses the connections that evenness drains: a fair sample
//	witness.go    leaves out multi-homed clients, of which other pods have as many connections
//	trial.go      checks that rounds change something, and pauses if they do not
//	allowance.go  bounds what is drained while connections come and go
//	relief.go     shrinks the share of an overloaded pod
//	evacuate.go   drains a pod that is out of the Service
//	dryrun.go     decides what would be drained, and drains nothing
//
//	clients.go    remembers what rounds have shown of clients
//	verdict.go    explains why evenness moves nothing
//	stuck.go      explains why no connection could be chosen
//	shown.go      keeps a verdict until another has lasted
//	age.go        applies the backstop age, with jitter and at a bounded rate
//	pace.go       limits the pace by the spread, a rate and a share of the connections
//
// Each rule has a transcript under testdata, which TestTranscripts compares with the code.
package plan
