package health

import (
	"bytes"
	"fmt"
	"io"
	"net/http"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxScrapes bounds the scrapes of /metrics at one time; more get 503. Two
// Prometheus servers and a person with curl fit, a loop gone wild does not.
const maxScrapes = 8

// Handler serves /livez, /readyz, /metrics, /statusz, /peerz and the page at /,
// for a server of your own; [ListenAndServe] needs less. Only GET and HEAD are
// allowed. The paths are absolute: under a prefix use [http.StripPrefix], and mount it at
// /peerz, too, where the other pods ask.
//
// Peers look for /peerz on the port that [rebalance.Balancer.SetHealthPort] was
// told, which Serve does by itself; with Handler it is up to you. With peers.tls,
// your server must ask for client certificates as [rebalance.Balancer.PeersTLS] does,
// or /peerz answers 403 to everybody.
//
// Handler panics if [WithRegisterer] names a registry that refuses the metrics.
func Handler(bal *rebalance.Balancer, opts ...Option) http.Handler {
	h, err := newHandler(sourceOf(bal), newOptions(opts))
	if err != nil {
		panic(err)
	}
	return h
}

func newHandler(src source, o options) (http.Handler, error) {
	gatherer, err := o.gatherer(src)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", livez)
	mux.Handle("GET /readyz", readyz(src))
	mux.Handle("GET /metrics", metricsHandler(gatherer))
	mux.Handle("GET /statusz", statusz(src))
	mux.Handle("GET /{$}", page(src))
	all := http.NewServeMux()
	all.Handle("/peerz", peersOnly(src, peerz.Handler(src.Report)))
	all.Handle("/", secure(mux))
	return all, nil
}

// peersOnly refuses who shows no certificate that peers.tls asks for.
func peersOnly(src source, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := src.CheckPeer(r.TLS); err != nil {
			w.Header().Set("Cache-Control", "no-store")
			w.Header().Set("Connection", "close") // the next question may come with a better one
			http.Error(w, "/peerz answers only to a client certificate signed by peers.tls.ca: "+err.Error(), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// secure sets the headers of every answer that a person may look at, errors too.
// Nothing here may be framed, cached, sniffed, or load anything; the page alone widens
// the policy, by the hash of its own style. /peerz is for pods, and every byte of it
// is sent by every pod many times a second: it forbids caching and sniffing only.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", basePolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

const basePolicy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// metricsHandler shows what can be gathered even when a collector of the user's
// fails: half a scrape tells more than none.
func metricsHandler(g prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(g, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes,
		EnableOpenMetrics:   true,
	})
}

// livez depends on nothing: a restart mends none of what could be asked here.
func livez(w http.ResponseWriter, _ *http.Request) {
	plain(w, http.StatusOK, "ok")
}

// readyz answers as Kubernetes' own components do: one word, or with ?verbose
// one line for each check. A pod that is not ready always says why.
func readyz(src source) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stop := stopping(src)
		code := http.StatusOK
		if stop {
			code = http.StatusServiceUnavailable
		}
		if !stop && !r.URL.Query().Has("verbose") {
			plain(w, code, "ok")
			return
		}
		var b bytes.Buffer
		writeChecks(&b, look(src), stop)
		plain(w, code, b.String())
	})
}

// writeChecks lists what was checked, [+] for good and [-] for bad. Only "serving"
// decides on the answer: taking a pod out of its Service because it cannot see
// its peers would turn a blind fleet into a dead one.
func writeChecks(w io.Writer, st rebalance.Status, stop bool) {
	if stop {
		fmt.Fprintf(w, "[-]serving failed: stopping, %d connections left\n", st.Connections)
	} else {
		fmt.Fprintln(w, "[+]serving ok")
	}
	fmt.Fprintf(w, "[%s]balance %s\n", sign(goodVerdict(st.Verdict)), oneLine(verdictLine(st)))
	for _, c := range st.Conditions {
		good := c.Severity == rebalance.Info
		fmt.Fprintf(w, "[%s]%s %s: %s\n", sign(good), oneLine(c.Code), oneLine(string(c.Severity)), oneLine(c.Text))
	}
	if stop {
		fmt.Fprintln(w, "readyz check failed")
		return
	}
	fmt.Fprintln(w, "readyz check passed")
}

func sign(good bool) string {
	if good {
		return "+"
	}
	return "-"
}

func plain(w http.ResponseWriter, code int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, body) // the client is gone: nobody is left to tell
}
