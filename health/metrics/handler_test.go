package metrics

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// Other programs rely on these series. A line may be added, never changed.
var contractMetrics = []string{ // as they stand in the text format, with one of each label
	`evenkeel_connections `, `evenkeel_connections_draining `, `evenkeel_streams `, `evenkeel_peers `,
	`evenkeel_load{weight="streams"} `, `evenkeel_load_mean{weight="streams"} `,
	`evenkeel_goaways_total{reason="reach"} `, `evenkeel_goaways_total{reason="even"} `,
	`evenkeel_goaways_total{reason="age"} `, `evenkeel_goaways_total{reason="overload"} `,
	`evenkeel_goaways_total{reason="shutdown"} `, `evenkeel_goaways_total{reason="manual"} `,
	`evenkeel_connections_closed_total{how="clean"} `, `evenkeel_connections_closed_total{how="forced"} `,
	`evenkeel_connections_closed_total{how="client"} `,
	`evenkeel_verdict{verdict="balanced"} `, `evenkeel_plan_seconds_sum `, `evenkeel_plan_seconds_count `,
	`evenkeel_peer_errors_total{why="timeout"} `,
}

func TestContractMetrics(t *testing.T) {
	body := scrape(t, handler(t, &fake{rebalance.Status{Weight: "streams"}}))
	for _, series := range contractMetrics {
		if !strings.Contains(body, "\n"+series) {
			t.Errorf("/metrics has no %s", series)
		}
	}
}

func TestOwnRegistryHasGoAndProcess(t *testing.T) {
	body := scrape(t, handler(t, &fake{sampleStatus()}))
	for _, name := range []string{"go_goroutines", "process_start_time_seconds", "evenkeel_connections"} {
		if !strings.Contains(body, "\n"+name+" ") {
			t.Errorf("/metrics has no %s", name)
		}
	}
}

func TestWithRegisterer(t *testing.T) {
	reg := prometheus.NewRegistry()
	mine := prometheus.NewGauge(prometheus.GaugeOpts{Name: "mine", Help: "Mine."})
	reg.MustRegister(mine)
	src := &fake{sampleStatus()}
	for range 2 { // registering the same Balancer again is no error
		body := scrape(t, handler(t, src, WithRegisterer(reg)))
		if !strings.Contains(body, "\nmine 0") || !strings.Contains(body, "\nevenkeel_connections 112") {
			t.Error("/metrics does not show both the user's and evenkeel's metrics")
		}
		if strings.Contains(body, "go_goroutines") {
			t.Error("the handler added Go's metrics to the user's registry")
		}
	}
	if _, err := newHandler(&fake{}, []Option{WithRegisterer(reg)}); err == nil {
		t.Error("two Balancers in one registry without labels: got no error")
	}
}

func TestWithRegistererThatCannotGather(t *testing.T) {
	reg := prometheus.NewRegistry()
	wrapped := prometheus.WrapRegistererWith(prometheus.Labels{"service": "hello"}, reg)
	h := handler(t, &fake{sampleStatus()}, WithRegisterer(wrapped))
	if !strings.Contains(scrape(t, h), "\nevenkeel_connections 112") {
		t.Error("/metrics does not show evenkeel's metrics")
	}
	families, err := reg.Gather()
	if err != nil || !slices.ContainsFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == "evenkeel_connections" }) {
		t.Errorf("the user's registry has no evenkeel_connections: %v", err)
	}
}

// Handler and Collector of one Balancer share a registry; another Balancer's panics.
func TestHandlerPanicsOnAForeignBalancer(t *testing.T) {
	reg := prometheus.NewRegistry()
	newBalancer := func() *rebalance.Balancer {
		bal, err := rebalance.New(config.Default())
		if err != nil {
			t.Fatal(err)
		}
		return bal
	}
	bal := newBalancer()
	reg.MustRegister(Collector(bal))
	Handler(bal, WithRegisterer(reg))
	defer func() {
		if err, ok := recover().(error); !ok || !strings.Contains(err.Error(), "cannot register the metrics") {
			t.Errorf("got panic %v, want an error that names the cause", err)
		}
	}()
	Handler(newBalancer(), WithRegisterer(reg))
}

// failing is a collector whose metrics cannot be gathered.
type failing struct{}

func (failing) Describe(chan<- *prometheus.Desc) {}

func (failing) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(http.ErrAbortHandler), http.ErrAbortHandler)
}

func TestFailingCollectorDoesNotHideTheOthers(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(failing{})
	if body := scrape(t, handler(t, &fake{sampleStatus()}, WithRegisterer(reg))); !strings.Contains(body, "\nevenkeel_connections 112") {
		t.Errorf("/metrics does not show evenkeel's metrics:\n%s", body)
	}
}

// blocking is a source whose Status waits for the test.
type blocking struct {
	entered chan struct{}
	release chan struct{}
}

func (b *blocking) Status() rebalance.Status {
	b.entered <- struct{}{}
	<-b.release
	return rebalance.Status{}
}

func TestConcurrentScrapesAreBounded(t *testing.T) {
	src := &blocking{entered: make(chan struct{}, maxScrapes), release: make(chan struct{})}
	h := handler(t, src)
	get := func() int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/metrics", nil))
		return w.Code
	}
	var wg sync.WaitGroup
	for range maxScrapes {
		wg.Go(func() {
			if code := get(); code != http.StatusOK {
				t.Errorf("got status %d, want 200", code)
			}
		})
	}
	for range maxScrapes {
		<-src.entered
	}
	if code := get(); code != http.StatusServiceUnavailable {
		t.Errorf("got status %d for one scrape too many, want 503", code)
	}
	close(src.release)
	wg.Wait()
}
