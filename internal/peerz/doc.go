// Package peerz is what pods tell each other: GET /peerz on the health port, the
// handler that answers it, and the client that asks.
//
// A [Report] has a pod's totals and, on request, how many connections it holds of
// given keys. Keys travel hashed ([HashKey], [Hasher]), so that addresses of
// clients do not. Times travel as ages, so that no two clocks have to agree.
//
// Nobody trusts anybody: the handler refuses what it would not ask itself, the
// client bounds time and size, follows no redirect, and drops an answer that
// makes no sense. Unknown fields are left out and required ones few, so that older
// and newer pods understand each other during a rollout. Each error belongs to a
// class, [ClassOf], for the metric that counts it.
//
// [Poller] asks many pods within one deadline, however many of them hang.
package peerz
