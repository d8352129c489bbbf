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

// shortest is the shortest time in which each server drains twice.
const shortest = 4

// seconds is how long the row's client calls.
func (r row) seconds(t testing.TB) int {
	n := 30
	if s := os.Getenv("INTEROP_SECONDS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < shortest {
			t.Fatalf("INTEROP_SECONDS=%q: want a whole number of at least %d", s, shortest)
		}
	}
	if r.half {
		n = max(n/2, shortest)
	}
	if r.long {
		n += n / 2
	}
	return n
}

// row is one client of the table.
type row struct {
	name string
	// argv starts the client; nil if drive is set.
	argv []string
	// drive makes the calls of a client that does not take our arguments.
	drive func(t *testing.T, s *server) result
	// policy is the balancing policy of the channel.
	policy string
	// single is set if the client gets only the first server's address.
	single bool
	tls    bool
	// onePort is set if the servers need the same port, as pods of one name have.
	onePort bool
	// together is set if all servers drain at the same moment.
	together bool
	// half is set if the client calls half as long as others.
	half bool
	// long is set if it calls half as long again.
	long bool
	// load is what the client calls with, where that is not the usual.
	load load
	// proxy, if set, starts a proxy between the client and the servers.
	proxy func(t *testing.T, s *server) *proxy
	// failuresPerGoAway is how many calls may fail per GOAWAY. The product is rounded up. Each
	// error must match failing.
	failuresPerGoAway float64
	// failing is a regular expression for the errors that are allowed.
	failing string
	// why is the reason why the server cannot prevent them.
	why string
	// silent is how many sockets the client may leave open on which it has sent nothing.
	silent int
	// cutsOff is set if the client itself ends calls that have reached a handler.
	cutsOff bool
}

// load is what a client calls with and what its servers allow. Zeros are the usual: 8 workers,
// 5 bytes, 10 s, and no limit.
type load struct {
	// workers is the number of workers with unary calls.
	workers int
	// bytes is the size of the message of a unary call, there and back.
	bytes int
	// deadline is the deadline of unary calls and of Chat, in seconds.
	deadline int
	// maxStreams is each server's MAX_CONCURRENT_STREAMS.
	maxStreams int
}

// env returns the environment variables that give a client its load.
func (l load) env() (env []string) {
	if l.workers > 0 {
		env = append(env, "HELLO_WORKERS="+strconv.Itoa(l.workers))
	}
	if l.deadline > 0 {
		env = append(env, "HELLO_DEADLINE="+strconv.Itoa(l.deadline))
	}
	if l.bytes > 0 {
		env = append(env, "HELLO_BYTES="+strconv.Itoa(l.bytes))
	}
	return env
}

// result is the line that a client prints.
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
	leftOpen, seconds int
}

func TestInterop(t *testing.T) {
	all := rows()
	i := slices.IndexFunc(all, func(r row) bool { return r.drive != nil })
	var tab table
	t.Run("clients", tab.run(slices.Concat(all[:i], all[i+1:]), true))
	// h2load counts calls that are in flight at its end as failed, so it must have got its GOAWAYs
	// by then. It runs alone, since another row could delay them.
	t.Run("alone", tab.run(all[i:i+1], false))
	tab.show(t, all, "table.md", true)
}

// TestLong runs the rows that need too long for each run of CI.
func TestLong(t *testing.T) {
	if os.Getenv("INTEROP_LONG") == "" {
		t.Skip("INTEROP_LONG is not set")
	}
	all := longRows()
	var tab, bare table
	t.Run("clients", tab.run(all, true))
	tab.show(t, all, "long.md", true)
	lossy := slices.DeleteFunc(slices.Concat(rows(), all), func(r row) bool { return r.failing == "" })
	t.Run("bare", bare.runEach(lossy, true, row.runBare))
	bare.show(t, lossy, "bare.md", false)
}

// table collects the outcomes of rows.
type table struct {
	mu       sync.Mutex
	outcomes []outcome
}

// run returns a test that runs each row before servers with evenkeel.
func (tab *table) run(rows []row, parallel bool) func(*testing.T) {
	return tab.runEach(rows, parallel, row.run)
}

func (tab *table) runEach(rows []row, parallel bool, run func(row, *testing.T) outcome) func(*testing.T) {
	return func(t *testing.T) {
		for _, r := range rows {
			t.Run(r.name, func(t *testing.T) {
				if parallel {
					t.Parallel()
				}
				o := run(r, t)
				tab.mu.Lock()
				defer tab.mu.Unlock()
				tab.outcomes = append(tab.outcomes, o)
			})
		}
	}
}

// run runs one row before servers with evenkeel: the calls, the sockets of the idle client, the sockets after its end, and
// the limits.
func (r row) run(t *testing.T) outcome {
	s := startServer(t, r, false)
	var p *proxy
	if r.proxy != nil {
		p = r.proxy(t, s)
	}
	o := outcome{name: r.name, seconds: r.seconds(t)}
	if r.drive != nil {
		o.result = r.drive(t, s)
	} else {
		c := startClient(t, r.argv, r.args(t, s, p), r.load.env())
		o.result = c.result(t, time.Duration(o.seconds)*time.Second)
		o.leftOpen = s.leftOpen(t, r.silent)
		c.end(t)
	}
	if p != nil {
		p.stop(t)
		o.Version = p.label(o.Version)
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
	args := []string{targets, r.policy, strconv.Itoa(r.seconds(t))}
	switch {
	case r.tls:
		args = append(args, s.ca)
	case p != nil && p.ca != "":
		args = append(args, p.ca)
	}
	return args
}

// check compares an outcome with its limits. Too few calls or GOAWAYs fail too, since such a run
// would prove nothing.
func (r row) check(t *testing.T, o outcome) {
	if allowed := int(math.Ceil(r.failuresPerGoAway * float64(o.GoAways))); o.Failed > allowed {
		t.Errorf("%d of %d calls failed, want at most %d: %v", o.Failed, o.Calls, allowed, o.Errors)
	} else if o.Failed > 0 {
		t.Logf("%d of %d calls failed, as allowed (%s): %v", o.Failed, o.Calls, r.why, o.Errors)
	}
	known := regexp.MustCompile(r.failing)
	for text := range o.Errors {
		if r.failuresPerGoAway > 0 && !known.MatchString(text) {
			t.Errorf("a call failed with %q, want an error that matches %q", text, r.failing)
		}
	}
	// No call was served twice, and no failed call had reached a handler.
	succeeded := o.Calls - o.Failed
	if o.Served < succeeded || o.Served > o.Calls || (o.Served > succeeded && !r.cutsOff) {
		t.Errorf("the servers served %d calls, want the client's %d successful ones", o.Served, succeeded)
	}
	if o.leftOpen > r.silent {
		t.Errorf("got %d open sockets besides the connections in use, want at most %d", o.leftOpen, r.silent)
	}
	if o.Forced != 0 {
		t.Errorf("got %d connections closed by force although every stream ended, want 0", o.Forced)
	}
	if least := 20 * o.seconds; o.Calls < least {
		t.Errorf("got %d calls, want at least %d", o.Calls, least)
	}
	// Each server drains every two seconds. Half of the GOAWAYs are enough on a slow machine.
	least := o.seconds / 4
	if !r.single && r.drive == nil && r.proxy == nil {
		least *= 3
	}
	if o.GoAways < least {
		t.Errorf("got %d GOAWAYs, want at least %d", o.GoAways, least)
	}
}

// show prints the table in the order of rows, and writes it to a file for docs/clients.md. Of servers
// without evenkeel it knows less.
func (tab *table) show(t *testing.T, rows []row, file string, tracked bool) {
	head, count := "| client | version | seconds | calls | failed | connections |", 6
	if tracked {
		head, count = "| client | version | seconds | calls | failed | GOAWAYs | connections | forced | sockets left open |", 9
	}
	b := head + "\n" + strings.Repeat("|---", count) + "|\n"
	sum := outcome{name: "in all"}
	for _, r := range rows {
		for _, o := range tab.outcomes {
			if o.name == r.name {
				b += o.line(tracked)
				sum = sum.plus(o)
			}
		}
	}
	b += sum.line(tracked)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	fmt.Fprint(w, strings.ReplaceAll(strings.ReplaceAll(b, "|---", ""), " | ", "\t | "))
	w.Flush()
	if err := os.WriteFile(built(file), []byte(b), 0o644); err != nil {
		t.Error(err)
	}
}

// plus returns o with the counts of another outcome added.
func (o outcome) plus(other outcome) outcome {
	o.seconds += other.seconds
	o.Calls += other.Calls
	o.Failed += other.Failed
	o.GoAways += other.GoAways
	o.Opened += other.Opened
	o.Forced += other.Forced
	o.leftOpen += other.leftOpen
	return o
}

func (o outcome) line(tracked bool) string {
	calls := fmt.Sprintf("| %s | %s | %d | %d | %d |", o.name, o.Version, o.seconds, o.Calls, o.Failed)
	if !tracked {
		return fmt.Sprintf("%s %d |\n", calls, o.Opened)
	}
	return fmt.Sprintf("%s %d | %d | %d | %d |\n", calls, o.GoAways, o.Opened, o.Forced, o.leftOpen)
}

// built returns the path of a file that run.sh has built.
func built(parts ...string) string {
	dir, err := filepath.Abs(".tmp")
	if err != nil {
		panic(err) // no working directory
	}
	return filepath.Join(append([]string{dir}, parts...)...)
}

// eventually polls until ok is true. limit must be far longer than needed, so that it only ends a
// test that has failed. what describes the failure.
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
			t.Errorf("timeout after %v: %s", limit, what)
			return false
		}
	}
}

func decodeLine(t *testing.T, line string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(line), into); err != nil {
		t.Fatalf("cannot parse %q as JSON: %v", line, err)
	}
}
