// Package experiment measures, on a real Kubernetes, how scaling a gRPC service affects its
// existing clients. It compares evenkeel with what people do without it.
//
// A run is a list of records: the EndpointSlices, DNS answers, each pod's own status, and what
// each client process printed. The figures and the tables of docs/kubernetes-experiment.md
// come from the records alone, so a run can be evaluated again.
package experiment
