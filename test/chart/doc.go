// Package chart tests the Helm chart in /chart, and the chart in /example/chart that
// takes its named templates: what they render, refuse and say, without a cluster. It is
// a module of its own, since helm and what belongs to it would raise the versions of
// everything that the other tests run with.
package chart
