// Package demo runs the main job as a user would: the demo's own program, with
// real server and client processes, in each scenario that promises something.
package demo
