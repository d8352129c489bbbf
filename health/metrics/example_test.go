package metrics_test

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/health"
	"github.com/evenkeel-go/evenkeel/health/metrics"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// series returns the lines of /metrics that begin with prefix.
func series(h http.Handler, prefix string) string {
	var out strings.Builder
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost/metrics", nil))
	for lines := bufio.NewScanner(w.Body); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), prefix) {
			out.WriteString(lines.Text() + "\n")
		}
	}
	return out.String()
}

// The health endpoint serves the metrics beside its other paths.
func ExampleHandler() {
	bal, err := rebalance.New(config.Default())
	if err != nil {
		fmt.Println(err)
		return
	}
	h := health.Handler(bal, health.WithMetrics(metrics.Handler(bal)))
	fmt.Print(series(h, "evenkeel_connections"))
	// Output:
	// evenkeel_connections 0
	// evenkeel_connections_closed_total{how="clean"} 0
	// evenkeel_connections_closed_total{how="client"} 0
	// evenkeel_connections_closed_total{how="forced"} 0
	// evenkeel_connections_closed_total{how="server"} 0
	// evenkeel_connections_draining 0
	// evenkeel_connections_opened_total 0
}

// Metrics of your own, in a registry of your own, are served with evenkeel's.
func ExampleWithRegisterer() {
	bal, err := rebalance.New(config.Default())
	if err != nil {
		fmt.Println(err)
		return
	}
	reg := prometheus.NewRegistry()
	orders := prometheus.NewCounter(prometheus.CounterOpts{Name: "orders_total", Help: "Orders taken."})
	reg.MustRegister(orders)
	orders.Inc()

	h := metrics.Handler(bal, metrics.WithRegisterer(reg))
	fmt.Print(series(h, "orders_total"), series(h, "evenkeel_ready"))
	// Output:
	// orders_total 1
	// evenkeel_ready 1
}

// Two Balancers in one registry need labels.
func ExampleCollector() {
	reg := prometheus.NewRegistry()
	for _, service := range []string{"hello", "orders"} {
		bal, err := rebalance.New(config.Default())
		if err != nil {
			fmt.Println(err)
			return
		}
		labelled := prometheus.WrapRegistererWith(prometheus.Labels{"service": service}, reg)
		fmt.Println(service, labelled.Register(metrics.Collector(bal)))
	}
	// Output:
	// hello <nil>
	// orders <nil>
}
