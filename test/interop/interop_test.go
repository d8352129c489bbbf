//go:build interop

package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

// seconds is how long each client calls.
func seconds(t testing.TB) int {
	s := os.Getenv("INTEROP_SECONDS")
	if s == "" {
		return 30
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 4 {
		t.Fatalf("INTEROP_SECONDS=%q: want a whole number of at least 4", s)
	}
	return n
}

// row is one client of the table.
type row struct {
	name string
	// client runs it until its calls are over; nil where drive is set.
	argv []string
	// drive does the calls in another way than by a client that knows our arguments.
	drive func(t *testing.T, s *server) result
	// policy is what its channel is told; single: it knows the first server only.
	policy string
	single bool
	tls    bool
	// proxy stands between, if set.
	proxy func(t *testing.T, s *server) *proxy
	// perGoAway is how many calls may fail for each GOAWAY, rounded up, if each of them
	// failed with an error that the regular expression failing matches; why says why it
	// cannot be none.
	perGoAway    float64
	failing, why string
}

// result is what a client says of itself.
type result struct {
	Client  string         `json:"client"`
	Version string         `json:"version"`
	Calls   int            `json:"calls"`
	Failed  int            `json:"failed"`
	Errors  map[string]int `json:"errors"`
}

// outcome is a line of the table.
type outcome struct {
	name string
	result
	totals
	left int
}

func TestInterop(t *testing.T) {
	var mu sync.Mutex
	var table []outcome
	each := func(rows []row, parallel bool) func(*testing.T) {
		return func(t *testing.T) {
			for _, r := range rows {
				t.Run(r.name, func(t *testing.T) {
					if parallel {
						t.Parallel()
					}
					o := r.run(t)
					mu.Lock()
					defer mu.Unlock()
					table = append(table, o)
				})
			}
		}
	}
	all := rows()
	i := slices.IndexFunc(all, func(r row) bool { return r.drive != nil })
	t.Run("clients", each(slices.Concat(all[:i], all[i+1:]), true))
	// h2load counts what is begun when its time is over as failed, so it must have got its
	// GOAWAYs by then: nothing runs beside it.
	t.Run("alone", each(all[i:i+1], false))
	show(t, table)
}

// run does all of a row: calls, the sockets of the idle client, the sockets
// after it, and the bars.
func (r row) run(t *testing.T) outcome {
	s := startServer(t, r.tls)
	var p *proxy
	if r.proxy != nil {
		p = r.proxy(t, s)
	}
	o := outcome{name: r.name}
	if r.drive != nil {
		o.result = r.drive(t, s)
	} else {
		c := startClient(t, r.argv, r.args(t, s, p))
		o.result = c.result(t, time.Duration(seconds(t))*time.Second)
		o.left = s.leftOpen(t)
		c.end(t)
	}
	if p != nil {
		p.stop(t)
		o.Version = p.version
	}
	o.totals = s.end(t)
	r.check(t, o)
	return o
}

func (r row) args(t *testing.T, s *server, p *proxy) []string {
	targets := strings.Join(s.GRPC, ",")
	if r.single {
		targets = s.GRPC[0]
	}
	if p != nil {
		targets = p.addr
	}
	args := []string{targets, r.policy, strconv.Itoa(seconds(t))}
	if r.tls {
		args = append(args, s.ca)
	}
	return args
}

// check holds an outcome against its bars. Too few calls or GOAWAYs fail, too:
// such a run would prove nothing.
func (r row) check(t *testing.T, o outcome) {
	if allowed := int(math.Ceil(r.perGoAway * float64(o.GoAways))); o.Failed > allowed {
		t.Errorf("%d of %d calls failed, at most %d may: %v", o.Failed, o.Calls, allowed, o.Errors)
	} else if o.Failed > 0 {
		t.Logf("%d of %d calls failed, as may be (%s): %v", o.Failed, o.Calls, r.why, o.Errors)
	}
	known := regexp.MustCompile(r.failing)
	for text := range o.Errors {
		if r.perGoAway > 0 && !known.MatchString(text) {
			t.Errorf("a call failed in another way than by %q: %s", r.failing, text)
		}
	}
	// Nothing was done twice, and no call that failed had been begun.
	if o.Served != o.Calls-o.Failed {
		t.Errorf("the servers served %d calls, the client had %d without an error", o.Served, o.Calls-o.Failed)
	}
	if o.left != 0 {
		t.Errorf("%d sockets left open beside the connections in use", o.left)
	}
	if o.Forced != 0 {
		t.Errorf("%d connections were closed by force, though every stream came to its end", o.Forced)
	}
	if least := 20 * seconds(t); o.Calls < least {
		t.Errorf("%d calls, want at least %d", o.Calls, least)
	}
	// Each server asks every two seconds; half of that leaves room for a slow machine.
	least := seconds(t) / 4
	if !r.single && r.drive == nil && r.proxy == nil {
		least *= 3
	}
	if o.GoAways < least {
		t.Errorf("%d GOAWAYs, want at least %d", o.GoAways, least)
	}
}

// show prints the table and keeps it for the README.
func show(t *testing.T, table []outcome) {
	var b strings.Builder
	b.WriteString("| client | version | calls | failed | GOAWAYs | connections | forced | sockets left |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|\n")
	for _, r := range rows() {
		for _, o := range table {
			if o.name == r.name {
				fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %d | %d | %d |\n",
					o.name, o.Version, o.Calls, o.Failed, o.GoAways, o.Opened, o.Forced, o.left)
			}
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	fmt.Fprint(w, strings.ReplaceAll(strings.ReplaceAll(b.String(), "|---", ""), " | ", "\t | "))
	w.Flush()
	if err := os.WriteFile(built("table.md"), []byte(b.String()), 0o644); err != nil {
		t.Error(err)
	}
}

// built is the path of something that run.sh has built.
func built(parts ...string) string {
	dir, err := filepath.Abs(".tmp")
	if err != nil {
		panic(err) // no working directory
	}
	return filepath.Join(append([]string{dir}, parts...)...)
}

// eventually waits for a state, not for a time: it polls until ok says yes and
// gives up only after a time far beyond any that is needed.
func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok() {
			return true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Errorf("gave up after %v: %s", limit, what)
			return false
		}
	}
}

func decodeLine(t *testing.T, line string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(line), into); err != nil {
		t.Fatalf("not the JSON that was expected: %q: %v", line, err)
	}
}
