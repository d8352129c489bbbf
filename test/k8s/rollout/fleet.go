package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"
	corelisters "k8s.io/client-go/listers/core/v1"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/endpointslice"
	"k8s.io/endpointslice/topologycache"
	endpointsliceutil "k8s.io/endpointslice/util"
	"k8s.io/klog/v2"
)

const (
	// perSlice is the default of --max-endpoints-per-slice.
	perSlice = 100
	nodes    = 100
	// envelope is about what a watch event adds in protobuf: its type and the object's kind.
	envelope = 60
)

// fleet is a Deployment and the EndpointSlices of its Service.
type fleet struct {
	size       int
	service    *corev1.Service
	pods       map[string]*corev1.Pod
	slices     map[string]*discovery.EndpointSlice
	reconciler *endpointslice.Reconciler
	rand       *rand.Rand
	made       int // pods

	writes, bytes int
}

// newFleet returns a fleet of ready pods.
func newFleet(size int) *fleet {
	f := &fleet{size: size, pods: map[string]*corev1.Pod{}, slices: map[string]*discovery.EndpointSlice{}, rand: rand.New(rand.NewPCG(1, uint64(size)))}
	f.service = &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Name: "hello-headless", Namespace: "default", UID: f.uid(), Labels: map[string]string{"app.kubernetes.io/name": "hello", "app.kubernetes.io/instance": "hello"}},
		Spec: corev1.ServiceSpec{
			ClusterIP: corev1.ClusterIPNone, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, Selector: map[string]string{"app.kubernetes.io/name": "hello"},
			Ports: []corev1.ServicePort{{Name: "grpc", Port: 50051, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(50051)}, {Name: "evenkeel", Port: 8080, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(8080)}},
		},
	}
	indexer := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	for i := range nodes {
		_ = indexer.Add(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node(i), Labels: map[string]string{corev1.LabelTopologyZone: fmt.Sprintf("eu-central-1%c", 'a'+i%3)}}})
	}
	client := fake.NewClientset()
	client.PrependReactor("*", "endpointslices", f.write)
	f.reconciler = endpointslice.NewReconciler(client, corelisters.NewNodeLister(indexer), perSlice, endpointsliceutil.NewEndpointSliceTracker(),
		topologycache.NewTopologyCache(), record.NewFakeRecorder(100), "endpointslice-controller.k8s.io")
	for range size {
		f.ready(f.add())
	}
	return f
}

func node(i int) string {
	return fmt.Sprintf("ip-10-0-%d-%d.eu-central-1.compute.internal", i%7, i)
}

func (f *fleet) uid() types.UID {
	b := make([]byte, 16)
	for i := range b {
		b[i] = byte(f.rand.UintN(256))
	}
	return types.UID(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
}

// write is the API server: it keeps what the reconciler writes, and counts it.
func (f *fleet) write(action clienttesting.Action) (bool, runtime.Object, error) {
	switch a := action.(type) {
	case clienttesting.UpdateAction: // and creations, which have the same methods
		written, ok := a.GetObject().(*discovery.EndpointSlice)
		if !ok {
			return false, nil, nil
		}
		s := written.DeepCopy()
		if s.Name == "" {
			s.Name, s.UID = fmt.Sprintf("%s%05x", s.GenerateName, f.rand.UintN(1<<20)), f.uid()
		}
		s.Generation, s.ResourceVersion = s.Generation+1, fmt.Sprint(100_000_000+f.writes)
		f.slices[s.Name] = s
		b, err := s.Marshal()
		if err != nil {
			return true, nil, err
		}
		f.writes, f.bytes = f.writes+1, f.bytes+len(b)+envelope
		return true, s, nil
	case clienttesting.DeleteAction:
		delete(f.slices, a.GetName())
		f.writes, f.bytes = f.writes+1, f.bytes+envelope
		return true, nil, nil
	}
	return false, nil, nil
}

// add adds a pod that is not ready.
func (f *fleet) add() *corev1.Pod {
	n := f.made
	f.made++
	name := node(n % nodes)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("hello-6d5f8d9c7b-%05d", n), Namespace: "default", UID: f.uid(), Labels: f.service.Labels},
		Spec:       corev1.PodSpec{NodeName: name},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255)},
	}
	p.Status.PodIPs = []corev1.PodIP{{IP: p.Status.PodIP}}
	f.pods[p.Name] = p
	return p
}

func (f *fleet) ready(p *corev1.Pod) {
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
}

// stop begins the end of a pod.
func (f *fleet) stop(p *corev1.Pod) {
	now := metav1.Now()
	p.DeletionTimestamp = &now
}

// sync is one run of the controller.
func (f *fleet) sync() error {
	pods := make([]*corev1.Pod, 0, len(f.pods))
	for _, p := range f.pods {
		pods = append(pods, p)
	}
	slices := make([]*discovery.EndpointSlice, 0, len(f.slices))
	for _, s := range f.slices {
		slices = append(slices, s)
	}
	return f.reconciler.Reconcile(klog.Background(), f.service, pods, slices, time.Now())
}

// roll replaces all pods, surge at a time. Pods change one by one, each with a run of the
// controller, or all of one step together, in one run.
func (f *fleet) roll(surge int, together bool) error {
	if err := f.sync(); err != nil {
		return err
	}
	f.writes, f.bytes = 0, 0
	var old []*corev1.Pod
	for _, p := range f.pods {
		old = append(old, p)
	}
	for len(old) > 0 {
		gone := old[:min(surge, len(old))]
		old = old[len(gone):]
		var added []*corev1.Pod
		steps := []func(i int){
			func(int) { added = append(added, f.add()) },
			func(i int) { f.ready(added[i]) },
			func(i int) { f.stop(gone[i]) },
			func(i int) { delete(f.pods, gone[i].Name) },
		}
		for _, step := range steps {
			if err := f.step(len(gone), step, together); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *fleet) step(n int, change func(i int), together bool) error {
	for i := range n {
		change(i)
		if together && i < n-1 {
			continue
		}
		if err := f.sync(); err != nil {
			return err
		}
	}
	return nil
}
