// Package peerz implements the protocol between pods: GET /peerz on the health port, the
// handler that answers it, and the client.
//
// A [Report] has a pod's totals. The answer to a query also has the number of connections of
// each key. Pods send keys as hashes ([HashKey], [Hasher]), never the addresses of clients.
// They send ages instead of times, so clocks need not agree.
//
// Neither side trusts the other. The handler refuses requests that no pod would send. The
// client bounds time and size, follows no redirect, and drops an answer that makes no
// sense. Unknown fields are ignored and few are required, so older and newer pods
// understand each other during a rollout. Each error belongs to a class, [ClassOf], for
// the metric that counts it.
//
// [Poller] asks many pods within one deadline, however many of them hang.
package peerz
