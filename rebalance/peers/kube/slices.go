package kube

import (
	discovery "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

var _ = discovery.AddToScheme
var _ = runtime.NewScheme
