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

// Watcher observes one fleet from inside the cluster's network: the EndpointSlices of
// its headless Service, the answers of the DNS that its clients ask, and what its
// pods say of themselves.
type Watcher struct {
	// Fleet is the name in the records.
	Fleet string
	// Namespace and Service, the headless one.
	Namespace, Service string
	// DNS is the address of the DNS server, with its port.
	DNS string
	// HealthPort of the pods.
	HealthPort int

	Client kubernetes.Interface
	Dial   DialFunc
	Log    *Log

	mu   sync.Mutex
	pods map[string]string // all that have not ended, also those that terminate
}

// How often is looked.
const (
	dnsEvery   = 100 * time.Millisecond
	stateEvery = 500 * time.Millisecond
	lookWithin = 2 * time.Second
)

// Run observes until ctx is done.
func (w *Watcher) Run(ctx context.Context) {
	w.pods = map[string]string{}
	var wg sync.WaitGroup
	wg.Go(func() { w.watchSlices(ctx) })
	wg.Go(func() { each(ctx, dnsEvery, w.dnsLooker()) })
	wg.Go(func() { each(ctx, stateEvery, w.stateLooker()) })
	wg.Wait()
}

// each calls look at every tick, until ctx is done.
func each(ctx context.Context, every time.Duration, look func(context.Context)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		one, cancel := context.WithTimeout(ctx, lookWithin)
		look(one)
		cancel()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// watchSlices watches again whenever a watch ends.
func (w *Watcher) watchSlices(ctx context.Context) {
	each(ctx, stateEvery, func(context.Context) {
		slices := map[string]*discoveryv1.EndpointSlice{}
		api := w.Client.DiscoveryV1().EndpointSlices(w.Namespace)
		// Without a resource version a watch begins with what there is.
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

// note records the pods that are ready, and remembers all to be asked how they are.
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

// dnsLooker asks DNS as a client does, and records answers that are new.
func (w *Watcher) dnsLooker() func(context.Context) {
	name := fmt.Sprintf("%s.%s.svc.cluster.local.", w.Service, w.Namespace)
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return w.Dial(ctx, network, w.DNS)
	}}
	var last map[string]string
	return func(ctx context.Context) {
		// A lost packet must not hide the answers after it: pods move clients half a second
		// after the first that is full, and what they do before is counted.
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

// stateLooker asks all pods how they are, and records what is new.
func (w *Watcher) stateLooker() func(context.Context) {
	web := &http.Client{Transport: &http.Transport{DialContext: w.Dial, IdleConnTimeout: time.Minute}}
	last := map[string]*State{}
	return func(ctx context.Context) {
		w.mu.Lock()
		pods := maps.Clone(w.pods)
		w.mu.Unlock()
		for name, ip := range pods {
			state, err := w.state(ctx, web, ip)
			if err != nil {
				// It is gone, or does not serve yet: the slices name it as long as it is there.
				continue
			}
			if !reflect.DeepEqual(state, last[name]) {
				last[name] = state
				w.Log.Add(Record{At: time.Now(), Fleet: w.Fleet, Kind: Pod, Name: name, State: state})
			}
		}
	}
}

// stateWithin bounds one question, so that a pod that has gone holds nobody up.
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
