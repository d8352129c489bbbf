// Package chart tests the Helm chart in /chart, and the charts in /example/chart and
// /example/sidecar, which include its named templates. It checks what they render, refuse and
// print, without a cluster. It is a module of its own, because helm and its dependencies would
// raise the versions of everything that the other tests run with.
package chart
