// Package experiment measures, on a real Kubernetes, what scaling a gRPC service
// does to clients that were there before: with evenkeel beside what people do
// without it.
//
// A run is a list of records: what EndpointSlices and DNS said, what each pod said
// of itself, and what each client process printed. The figures, and the table in
// docs/kubernetes-experiment.md, are made of the records alone, so that a run can be
// looked at again.
package experiment
