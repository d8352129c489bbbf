package health

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// Zones are shown where they are known, and take no room where they are not.
func TestZonesAreShown(t *testing.T) {
	st := rebalance.Status{Pod: "a", Peers: []rebalance.PeerStatus{{Pod: "a", Self: true}, {Pod: "b"}}}
	src := newFake(st)
	h := handler(t, src)
	for _, path := range []string{"/statusz", "/statusz?text", "/"} {
		if body := get(t, h, path).Body.String(); strings.Contains(strings.ToLower(body), "zone") {
			t.Errorf("%s names zones, of which none is known:\n%s", path, body)
		}
	}
	st.Zone, st.Peers = "z1", []rebalance.PeerStatus{{Pod: "a", Self: true, Zone: "z1"}, {Pod: "b", Zone: "z\x1b2"}}
	src.set(st)
	for path, want := range map[string][]string{
		"/statusz":      {`"zone": "z1"`},
		"/statusz?text": {"ZONE", "z1", "z 2"},
		"/":             {">Zone<", ">z1<", "z"},
	} {
		body := get(t, h, path).Body.String()
		for _, w := range want {
			if !strings.Contains(body, w) {
				t.Errorf("%s lacks %q:\n%s", path, w, body)
			}
		}
	}
}

// Only a pod that may poll this one can announce itself.
func TestAnnouncementsOfPodsThatStart(t *testing.T) {
	src := newFake(rebalance.Status{Pod: "a"})
	srv := httptest.NewServer(handler(t, src))
	defer srv.Close()
	c := &peerz.Client{Start: func() (peerz.Start, bool) { return peerz.Start{Pod: "b"}, true }}
	defer c.Close()
	addr := srv.Listener.Addr().String()
	if _, err := c.Ask(t.Context(), addr, nil); err != nil {
		t.Fatal(err)
	}
	if want := []peerz.Start{{Pod: "b"}}; !slices.Equal(src.starts, want) {
		t.Errorf("heard %+v, want %+v", src.starts, want)
	}
	src.refuse = http.ErrNoCookie
	if _, err := c.Ask(t.Context(), addr, nil); err == nil || len(src.starts) != 1 {
		t.Errorf("%v, heard %+v, want a refusal and nothing more", err, src.starts)
	}
}
