// Package peerz is the protocol between pods: GET /peerz on the health port, the handler
// that answers it, and the client that asks.
//
// A [Report] has a pod's totals and, on request, the number of its connections for given
// keys. Keys travel hashed ([HashKey], [Hasher]), so the addresses of clients do not
// travel. Times travel as ages, so clocks need not agree.
//
// Neither side trusts the other. The handler refuses requests that no pod would send. The
// client bounds time and size, follows no redirect, and drops an answer that makes no
// sense. Unknown fields are ignored and few are required, so older and newer pods
// understand each other during a rollout. Each error belongs to a class, [ClassOf], for
// the metric that counts it.
//
// [Poller] asks many pods within one deadline, however many of them hang.
package peerz
