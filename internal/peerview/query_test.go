package peerview

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/internal/plan"
	"google.golang.org/grpc/test/bufconn"
)

// Another pod has the address now: neither its totals nor its counts pass for those of the
// pod that was asked.
func TestAnswersOfTheWrongPod(t *testing.T) {
	at, _ := serveAt(t, "127.0.0.2", 0, peerz.Handler(func(keys []string) peerz.Report {
		rep := peerz.Report{Pod: "c", Ready: true, Connections: 3, Keys: map[string]int{}}
		for _, key := range keys {
			rep.Keys[key] = 9
		}
		rep.SingleHomed = keys
		return rep
	}))
	b := asker(t, nil, podAt("b", at))
	b.poll(t.Context())
	wantErrors(t, b, map[string]uint64{peerz.WrongPod: 1})
	if got := b.Peers(config.WeightConnections, ""); len(got) != 0 {
		t.Errorf("its load counts: %+v", got)
	}
	q := &plan.Query{Keys: map[string][]string{"127.0.0.2": {"k"}}}
	if got := b.askAll(t.Context(), q, map[string]target{"127.0.0.2": targetOf(b, "127.0.0.2")}); len(got.ByPod)+len(got.SingleHomed) != 0 {
		t.Errorf("its counts of keys count: %v", got)
	}
	wantErrors(t, b, map[string]uint64{peerz.WrongPod: 2})

	seeMembers(b, podAt("", at)) // the source knows no names
	b.poll(t.Context())
	got := b.askAll(t.Context(), q, map[string]target{"127.0.0.2": targetOf(b, "127.0.0.2")})
	if got.ByPod["127.0.0.2"]["k"] != 9 || !got.SingleHomed["k"] || len(b.Peers(config.WeightConnections, "")) != 1 {
		t.Errorf("keys %v, errors %v", got, b.Errors())
	}
}

// Many keys take many requests: each has its time, and so has the whole query.
func TestQueryOfManyKeysHasEnoughTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var requests atomic.Int64
		slow := peerz.Handler(func(keys []string) peerz.Report {
			requests.Add(1)
			time.Sleep(QueryTimeout / 2)
			return peerz.Report{Pod: "b", Ready: true, Keys: map[string]int{keys[0]: 1}}
		})
		b := asker(t, nil, podAt("b", netip.MustParseAddrPort("127.0.0.2:9")))
		b.client.Dial = pipeTo(t, slow)
		keys := make([]string, 5*peerz.MaxKeys)
		for i := range keys {
			keys[i] = fmt.Sprintf("10.0.%d.%d", i>>8, i&255)
		}
		counts, _, err := b.askKeys(t.Context(), targetOf(b, "127.0.0.2"), keys)
		if err != nil || counts[keys[4*peerz.MaxKeys]] != 1 || requests.Load() != 5 {
			t.Errorf("%d requests, %v", requests.Load(), err)
		}
		b.client.Close()
	})
}

// pipeTo connects an HTTP client to h without a network.
func pipeTo(t *testing.T, h http.Handler) func(context.Context, string, string) (net.Conn, error) {
	t.Helper()
	lis := bufconn.Listen(1 << 20)
	srv := &http.Server{Handler: h}
	go srv.Serve(lis)
	t.Cleanup(func() { srv.Close() })
	return func(ctx context.Context, _, _ string) (net.Conn, error) { return lis.DialContext(ctx) }
}

// Pods with one salt find each other's clients, by other hashes than pods without it.
func TestSalt(t *testing.T) {
	for _, tc := range []struct {
		ours, theirs string
		want         int
	}{{"", "", 1}, {"s", "s", 1}, {"s", "", 0}, {"", "s", 0}, {"s", "t", 0}} {
		var asked atomic.Value
		at, stop := serveAt(t, "127.0.0.2", 0, peerz.Handler(func(keys []string) peerz.Report {
			asked.Store(keys[0])
			return counting(tc.theirs, "10.0.0.7", keys)
		}))
		b := asker(t, func(o *Options) { o.Salt = tc.ours }, podAt("pod-b", at))
		got, _, err := b.askKeys(t.Context(), targetOf(b, "127.0.0.2"), []string{"10.0.0.7"})
		if err != nil || got["10.0.0.7"] != tc.want {
			t.Errorf("salts %q and %q: %v, %v, want %d", tc.ours, tc.theirs, got, err, tc.want)
		}
		if plain := asked.Load() == peerz.HashKey("10.0.0.7"); plain != (tc.ours == "") {
			t.Errorf("salt %q: asked for %v", tc.ours, asked.Load())
		}
		stop()
	}
}

// counting reports one connection of a client, with a salt.
func counting(salt, client string, hashed []string) peerz.Report {
	index := peerz.NewHasher(salt).NewIndex(1)
	index.Add(client, 1)
	r := peerz.Report{Pod: "pod-b", Ready: true, Keys: map[string]int{}}
	for _, h := range hashed {
		if n, _ := index.Count(h); n > 0 {
			r.Keys[h] = n
		}
	}
	return r
}
