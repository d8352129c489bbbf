// Package bench compares evenkeel with a bare grpc.NewServer: the cost of an RPC, of a message
// and of an idle connection.
//
// Tests check what is exact: allocations per RPC (TestNoExtraAllocationPerRPC) and heap per idle
// connection (TestIdleConnectionHeap). Benchmarks measure what depends on the machine. README.md
// has the figures and the commands.
package bench
