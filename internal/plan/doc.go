// Package plan decides which connections leave, when, and why nothing does.
//
// It is pure: a View and a State go in, a Step and the next State come out. It
// reads no clock, takes no lock and does no I/O, so that a simulation runs the
// very code that ships. Time is a duration since an epoch that the caller
// chose; only differences matter.
//
// The rules, each in a file of its own:
//
//	growth.go  when the membership has grown, and whose turn it is to act
//	reach.go   one GOAWAY per channel of a spread client, from the key's owner
//	band.go    the loads of the pods, and which are outside the band
//	even.go    sticky clients move until all pods are inside
//	choose.go  which connections those are
//	trial.go   whether that brings anything, and the pause if it does not
//	age.go     the backstop age, with jitter and at a bounded rate
//	pace.go    how fast: the spread, a rate, and a share of the connections
package plan
