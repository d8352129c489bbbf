// Package bench holds evenkeel against a bare grpc.NewServer: what an RPC, a
// message and an idle connection cost with it and without.
//
// What is exact is a test and fails the build: allocations per RPC
// (TestNoExtraAllocationPerRPC) and heap per idle connection
// (TestIdleConnectionHeap). What depends on the machine is a benchmark; README.md
// has the figures and how to get them.
package bench
