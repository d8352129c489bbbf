package health

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// Handler serves /livez, /readyz, /metrics, /statusz, /peerz and the page at /, for a
// server of your own; [ListenAndServe] needs less code. Only GET and HEAD are allowed. The
// paths are absolute: below a prefix use [http.StripPrefix], and mount the handler at /peerz
// as well, where the other pods read it.
//
// Use [WithPort] unless peers.port is set, so that this pod knows where to poll its peers.
// Otherwise it polls none of them, which the condition peers-port shows.
// With peers.tls, your server must serve with [TLSConfig]; otherwise /peerz answers 403 to
// every peer.
//
// Handler panics if an option is invalid.
func Handler(bal *rebalance.Balancer, opts ...Option) http.Handler {
	h, err := handlerWithPort(sourceOf(bal), newOptions(opts))
	if err != nil {
		panic(err)
	}
	return h
}

func handlerWithPort(src source, o options) (http.Handler, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.port != 0 {
		src.SetHealthPort(o.port)
	}
	return newHandler(src, o), nil
}

func newHandler(src source, o options) http.Handler {
	mux := http.NewServeMux()
	looks := newGate(looksAtOnce, true)
	guarded := func(h http.Handler) http.Handler { return o.knownHost(looks.around(h)) }
	mux.HandleFunc("GET /livez", livez)
	mux.Handle("GET /readyz", briefly(src, o.checks, guarded(readyz(src, o.checks))))
	mux.Handle("GET /metrics", guarded(o.metrics))
	mux.Handle("GET /statusz", guarded(statusz(src)))
	mux.Handle("GET /{$}", guarded(page(src)))
	all := http.NewServeMux()
	all.Handle("/peerz", o.knownHost(peersOnly(src, byAsker(src, heard(src, peerz.Handler(src.Report))))))
	all.Handle("/", secure(mux))
	return all
}

// noMetrics answers /metrics without WithMetrics.
func noMetrics(w http.ResponseWriter, _ *http.Request) {
	plain(w, http.StatusNotImplemented, "This program exports no metrics here: "+
		"import github.com/evenkeel-go/evenkeel/health/metrics and pass health.WithMetrics(metrics.Handler(bal)).\n")
}

// peersOnly refuses clients without the certificate that peers.tls requires.
func peersOnly(src source, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := src.CheckPeer(r.TLS); err != nil {
			w.Header().Set("Cache-Control", "no-store")
			w.Header().Set("Connection", "close") // the next request may come with a better certificate
			http.Error(w, "/peerz requires a client certificate signed by peers.tls.ca: "+err.Error(), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// heard passes on the announcement of a pod that polls this one while it is starting.
func heard(src source, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s, ok := peerz.StartOf(r); ok {
			src.Starts(s)
		}
		next.ServeHTTP(w, r)
	})
}

// secure sets the headers of every answer that a browser may show, errors included. No
// answer may be framed, cached, sniffed, or load anything. Only the page widens the policy,
// by the hash of its own style sheet. /peerz is not behind it: every pod sends that answer
// many times a second, so it only forbids caching and sniffing.
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

// livez depends on nothing: a restart would not fix anything that it could check.
func livez(w http.ResponseWriter, _ *http.Request) {
	plain(w, http.StatusOK, "ok")
}

// briefly answers the kubelet's probe of a pod that serves and whose checks pass, which needs no
// gate.
func briefly(src source, checks []check, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, failed := runChecks(checks); failed || stopping(src) || r.URL.Query().Has("verbose") {
			next.ServeHTTP(w, r)
			return
		}
		plain(w, http.StatusOK, "ok")
	})
}

// readyz answers as Kubernetes' own components do: with one word, or with ?verbose one line
// for each check. The answer of a pod that is not ready always has the reason.
func readyz(src source, checks []check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		stop := stopping(src)
		own, failed := runChecks(checks)
		code := http.StatusOK
		if stop || failed {
			code = http.StatusServiceUnavailable
		}
		var b bytes.Buffer
		writeChecks(&b, look(src), stop, own)
		if code != http.StatusOK {
			fmt.Fprintln(&b, "readyz check failed")
		} else {
			fmt.Fprintln(&b, "readyz check passed")
		}
		plain(w, code, b.String())
	})
}

// runChecks runs the checks of the program's own and returns a line for each.
func runChecks(checks []check) (lines string, failed bool) {
	var b strings.Builder
	for _, c := range checks {
		if err := c.run(); err != nil {
			failed = true
			fmt.Fprintf(&b, "[-]%s failed: %s\n", oneLine(c.name), oneLine(err.Error()))
		} else {
			fmt.Fprintf(&b, "[+]%s ok\n", oneLine(c.name))
		}
	}
	return b.String(), failed
}

// writeChecks lists the checks, [+] for good and [-] for bad. Only "serving" and the checks of
// the program's own decide the status code. If a pod left its Service because it cannot see its
// peers, a fleet without a view would become a fleet without pods.
func writeChecks(w io.Writer, st rebalance.Status, stop bool, own string) {
	if stop {
		fmt.Fprintf(w, "[-]serving failed: stopping, %d connections still open\n", st.Connections)
	} else {
		fmt.Fprintln(w, "[+]serving ok")
	}
	fmt.Fprint(w, own)
	fmt.Fprintf(w, "[%s]balance %s\n", sign(goodVerdict(st.Verdict)), oneLine(verdictLine(st)))
	for _, c := range st.Conditions {
		good := c.Severity == rebalance.Info
		fmt.Fprintf(w, "[%s]%s %s: %s\n", sign(good), oneLine(c.Code), oneLine(string(c.Severity)), oneLine(c.Text))
	}
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
	_, _ = io.WriteString(w, body) // an error means that the client is gone
}
