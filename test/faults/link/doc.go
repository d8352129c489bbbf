// Package link is a bad network in user space: it passes IP packets between two devices with
// delay, jitter, loss, duplicates and a bandwidth, and as a firewall that forgets its flows.
//
// Linux has all of this in sch_netem, but many kernels are built without that module. A proxy
// for TCP, such as Toxiproxy, would hide loss and reordering from the TCP stacks at both ends.
package link
