package experiment

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"reflect"
	"sync"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// DialFunc connects inside the cluster's network.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Watcher observes one fleet from inside the cluster's network: the EndpointSlices of its
// headless Service, the answers of its clients' DNS server, and the status of its pods.
type Watcher struct {
	// Fleet is the fleet's name in the records.
	Fleet string
	// Namespace and Service name the headless Service.
	Namespace, Service string
	// DNS is the address of the DNS server, with its port.
	DNS string
	// HealthPort is the health port of the pods.
	HealthPort int

	Client kubernetes.Interface
	Dial   DialFunc
	Log    *Log

	mu   sync.Mutex
	pods map[string]string // addresses by name, including terminating pods
}

// Intervals and the time limit of the observations.
const (
	dnsEvery   = 100 * time.Millisecond
	stateEvery = 500 * time.Millisecond
	pollWithin = 2 * time.Second
)

// Run observes until ctx is done.
func (w *Watcher) Run(ctx context.Context) {
	w.pods = map[string]string{}
	var wg sync.WaitGroup
	wg.Go(func() { w.watchSlices(ctx) })
	wg.Go(func() { every(ctx, dnsEvery, w.dnsPoller()) })
	wg.Go(func() { every(ctx, stateEvery, w.statePoller()) })
	wg.Wait()
}

// every calls poll at once and then at every interval, until ctx is done.
func every(ctx context.Context, interval time.Duration, poll func(context.Context)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		one, cancel := context.WithTimeout(ctx, pollWithin)
		poll(one)
		cancel()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// watchSlices watches the EndpointSlices, and starts again whenever a watch ends.
func (w *Watcher) watchSlices(ctx context.Context) {
	every(ctx, stateEvery, func(context.Context) {
		slices := map[string]*discoveryv1.EndpointSlice{}
		api := w.Client.DiscoveryV1().EndpointSlices(w.Namespace)
		// Without a resource version, a watch starts with the existing objects.
		events, err := api.Watch(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + w.Service})
		if err != nil {
			return
		}
		defer events.Stop()
		for e := range events.ResultChan() {
			slice, ok := e.Object.(*discoveryv1.EndpointSlice)
			if !ok {
				return
			}
			slices[slice.Name] = slice
			if e.Type == "DELETED" {
				delete(slices, slice.Name)
			}
			w.note(slices)
		}
	})
}

// note records the ready pods, and stores all pods for statePoller.
func (w *Watcher) note(slices map[string]*discoveryv1.EndpointSlice) {
	ready := map[string]string{}
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.pods)
	for _, slice := range slices {
		for _, e := range slice.Endpoints {
			if e.TargetRef == nil || len(e.Addresses) == 0 {
				continue
			}
			w.pods[e.TargetRef.Name] = e.Addresses[0]
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				ready[e.TargetRef.Name] = e.Addresses[0]
			}
		}
	}
	w.Log.Add(Record{At: time.Now(), Fleet: w.Fleet, Kind: Ready, Addresses: ready})
}

// dnsPoller returns a function that queries DNS as a client does, and records new answers.
func (w *Watcher) dnsPoller() func(context.Context) {
	name := fmt.Sprintf("%s.%s.svc.cluster.local.", w.Service, w.Namespace)
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return w.Dial(ctx, network, w.DNS)
	}}
	var last map[string]string
	return func(ctx context.Context) {
		// A lost packet must not hide the answers after it. Pods move clients half a second
		// after the first full answer, and what they do before it counts as early.
		ctx, cancel := context.WithTimeout(ctx, 3*dnsEvery)
		defer cancel()
		found, err := resolver.LookupNetIP(ctx, "ip4", name)
		answer := map[string]string{}
		for _, ip := range found {
			answer[ip.String()] = ""
		}
		if err != nil || maps.Equal(answer, last) {
			return
		}
		last = answer
		w.Log.Add(Record{At: time.Now(), Fleet: w.Fleet, Kind: DNS, Addresses: answer})
	}
}

// statePoller returns a function that reads the status of all pods, and records changes.
func (w *Watcher) statePoller() func(context.Context) {
	web := &http.Client{Transport: &http.Transport{DialContext: w.Dial, IdleConnTimeout: time.Minute}}
	last := map[string]*State{}
	return func(ctx context.Context) {
		w.mu.Lock()
		pods := maps.Clone(w.pods)
		w.mu.Unlock()
		for name, ip := range pods {
			state, err := w.state(ctx, web, ip)
			if err != nil {
				continue // the pod is gone but still listed, or does not serve yet
			}
			if !reflect.DeepEqual(state, last[name]) {
				last[name] = state
				w.Log.Add(Record{At: time.Now(), Fleet: w.Fleet, Kind: Pod, Name: name, State: state})
			}
		}
	}
}

// stateWithin bounds one request, so that a pod that is gone does not delay the others.
const stateWithin = 300 * time.Millisecond

func (w *Watcher) state(ctx context.Context, web *http.Client, ip string) (*State, error) {
	ctx, cancel := context.WithTimeout(ctx, stateWithin)
	defer cancel()
	url := fmt.Sprintf("http://%s/statusz", net.JoinHostPort(ip, fmt.Sprint(w.HealthPort)))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := web.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var s State
	return &s, json.NewDecoder(resp.Body).Decode(&s)
}
