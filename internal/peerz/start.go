package peerz

import (
	"net/http"
	"net/netip"
	"net/url"
)

// startHeader is the header of a request by which a pod announces that it is starting.
const startHeader = "Evenkeel-Starting"

// Start announces that the pod that sends a request is starting: its Balancer runs, and it has
// not been a member yet. A source such as DNS lists a pod only once it is ready.
type Start struct {
	// Pod is the pod's name.
	Pod string
	// Addr is its own address, if it knows.
	Addr netip.Addr
}

// header returns the value of startHeader. Names may have characters that a header may not.
func (s Start) header() string {
	v := url.Values{"pod": {s.Pod}}
	if s.Addr.IsValid() {
		v.Set("addr", s.Addr.String())
	}
	return v.Encode()
}

// StartOf returns the announcement of a request. It returns false if there is none, or one
// that no pod would send. Nothing in it is proven.
func StartOf(r *http.Request) (s Start, ok bool) {
	text := r.Header.Get(startHeader)
	if text == "" || len(text) > 4*maxPodLen {
		return Start{}, false
	}
	v, err := url.ParseQuery(text)
	if err != nil || !validPod(v.Get("pod")) {
		return Start{}, false
	}
	s.Pod = v.Get("pod")
	if text := v.Get("addr"); text != "" {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return Start{}, false
		}
		s.Addr = addr.Unmap()
	}
	return s, true
}
