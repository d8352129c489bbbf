package health

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/certs"
	"github.com/evenkeel-go/evenkeel/internal/certs/certstest"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// rotating is two pods: b polls a all the time while the files of both change.
type rotating struct {
	t     *testing.T
	a, b  *certstest.Mount
	bal   *rebalance.Balancer // a's
	store *certs.Store        // b's
	addr  string              // a's

	polls  atomic.Int64
	failed atomic.Int64
}

// poll polls a as b, over kept connections, from several goroutines.
func (r *rotating) poll(ctx context.Context, wg *sync.WaitGroup) {
	for range 4 {
		wg.Go(func() {
			client := &peerz.Client{TLS: r.store.Client, Timeout: time.Minute}
			defer client.Close()
			for ctx.Err() == nil {
				_, err := client.Ask(ctx, r.addr, nil)
				if ctx.Err() != nil {
					return
				}
				r.polls.Add(1)
				if err != nil && r.failed.Add(1) < 5 {
					r.t.Errorf("a poll failed: %v", err)
				}
			}
		})
	}
}

// until waits for a change that must come by itself.
func (r *rotating) until(what string, ok func() bool) {
	r.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			r.t.Fatalf("did not happen within 30 s: %s", what)
		}
	}
}

// serves reports whether a presents the certificate of this name.
func (r *rotating) serves(name string) bool {
	var seen string
	conn, err := tls.Dial("tcp", r.addr, &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error {
		seen = s.PeerCertificates[0].Subject.CommonName
		return nil
	}})
	if err != nil {
		return false
	}
	_ = conn.Close()
	return seen == name
}

// accepts reports whether a answers a pod with this certificate.
func (r *rotating) accepts(asPod func() *tls.Config) bool {
	client := &peerz.Client{TLS: asPod, Timeout: time.Minute}
	defer client.Close()
	_, err := client.Ask(r.t.Context(), r.addr, nil)
	return err == nil
}

func (r *rotating) shows(code string) bool {
	return slices.ContainsFunc(r.bal.Status().Conditions, func(c rebalance.Condition) bool { return c.Code == code })
}

// No poll fails while the certificates and then the CA are replaced under load, one mistake
// included.
func TestRotationUnderLoad(t *testing.T) {
	oldCA, newCA := certstest.NewCA(t, "old"), certstest.NewCA(t, "new")
	both := slices.Concat(oldCA.PEM, newCA.PEM)
	issue := func(ca *certstest.CA, name string) (cert, key []byte) { return ca.Issue(name, nil) }
	certA, keyA := issue(oldCA, "a1")
	certB, keyB := issue(oldCA, "b1")
	r := &rotating{t: t, a: certstest.NewMount(t, certA, keyA, oldCA.PEM), b: certstest.NewMount(t, certB, keyB, oldCA.PEM)}
	r.bal = withPeersTLS(t, r.a)
	r.addr = serveBalancer(t, r.bal)
	var err error
	if r.store, err = certs.New(r.b.Files, "", func(problem string) { t.Logf("b: %q", problem) }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	r.poll(ctx, &wg)
	swapB := func(cert, key, ca []byte) {
		before := r.store.Client()
		r.b.Swap(cert, key, ca)
		r.until("b loads its new files", func() bool { return r.store.Client() != before })
	}

	certA, keyA = issue(oldCA, "a2")
	r.a.Swap(certA, keyA, oldCA.PEM)
	r.until("a presents its new certificate", func() bool { return r.serves("a2") })
	certB, keyB = issue(oldCA, "b2")
	swapB(certB, keyB, oldCA.PEM)

	r.a.Swap(certA, certA, oldCA.PEM) // no key
	r.until("a shows the condition peers-tls", func() bool { return r.serves("a2") && r.shows("peers-tls") })
	r.a.Swap(certA, keyA, both)
	r.until("a clears the condition peers-tls", func() bool { return r.serves("a2") && !r.shows("peers-tls") })
	swapB(certB, keyB, both)
	r.until("a accepts the new CA", func() bool { return r.accepts(clientOf(t, newCA, nil)) })

	certB, keyB = issue(newCA, "b3")
	swapB(certB, keyB, both)
	certA, keyA = issue(newCA, "a3")
	r.a.Swap(certA, keyA, both)
	r.until("a presents the new CA's certificate", func() bool { return r.serves("a3") })

	oldPod := clientOf(t, oldCA, nil)
	if !r.accepts(oldPod) {
		t.Error("a refuses the old CA before it was removed")
	}
	r.a.Swap(certA, keyA, newCA.PEM)
	swapB(certB, keyB, newCA.PEM)
	r.until("a refuses the old CA", func() bool { return !r.accepts(oldPod) })
	before := r.polls.Load()
	r.until("polls go on", func() bool { return r.polls.Load() > before+100 })
	cancel()
	wg.Wait()
	if n := r.failed.Load(); n != 0 {
		t.Errorf("%d of %d polls failed", n, r.polls.Load())
	}
	t.Logf("%d polls, none failed", r.polls.Load())
}

// The current CA decides on a client's certificate, even on a connection that was made under
// the previous one.
func TestKeptConnectionsAreCheckedAgain(t *testing.T) {
	oldCA, newCA := certstest.NewCA(t, "old"), certstest.NewCA(t, "new")
	m := podMount(t, oldCA, func(c *x509.Certificate) { c.Subject.CommonName = "one" })
	r := &rotating{t: t, a: m, bal: withPeersTLS(t, m)}
	r.addr = serveBalancer(t, r.bal)
	client := &peerz.Client{TLS: clientOf(t, oldCA, nil), Timeout: time.Minute}
	defer client.Close()
	if _, err := client.Ask(t.Context(), r.addr, nil); err != nil {
		t.Fatal(err)
	}
	cert, key := newCA.Issue("two", nil)
	m.Swap(cert, key, newCA.PEM)
	r.until("a presents the new certificate", func() bool { return r.serves("two") })
	if _, err := client.Ask(t.Context(), r.addr, nil); peerz.ClassOf(err) != peerz.TLS {
		t.Errorf("got %v, want a TLS refusal", err)
	}
}
