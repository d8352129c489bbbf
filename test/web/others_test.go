package web

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// drainEvery is how often all connections are drained: far more often than in any fleet.
const drainEvery = 400 * time.Millisecond

var (
	withOthers = flag.Bool("others", false, "run clients in other languages, too: curl, Node, Java, h2load and Chromium, as far as they are installed")
	othersFor  = flag.Duration("others-for", 8*time.Second, "how long each of them calls; from 45s on they follow a growth as well")
)

// site is where a client calls, and for how many seconds. dir is a folder of its own.
type site struct{ url, ca, seconds, dir string }

// other is a client that others have written, with the command that runs it.
type other struct {
	name    string
	secure  bool // with TLS
	command func(site) []string
	count   func(out string) (calls, failed int)
	// once: each successful request reaches the handler once, and no other does.
	once bool
	// slow: it needs seconds to start, and so -others-for alone or more.
	slow bool
	// again: it never connects a second time, so it runs again and again, for a second each.
	again bool
	// mayFail is the only error that it may show, with any server that sends a GOAWAY. Such a client
	// needs -others-for alone or more: how much it gives up depends on how busy the machine is.
	mayFail *regexp.Regexp
}

// alone is how long -others-for must be for clients that start slowly or give up calls themselves.
const alone = 8 * time.Second

var (
	summary = regexp.MustCompile(`calls (\d+) failed (\d+)`)
	h2loads = regexp.MustCompile(`, (\d+) started, \d+ done, \d+ succeeded, (\d+) failed`)
)

func byPattern(p *regexp.Regexp) func(string) (int, int) {
	return func(out string) (calls, failed int) {
		for _, m := range p.FindAllStringSubmatch(out, -1) {
			more, _ := strconv.Atoi(m[1])
			bad, _ := strconv.Atoi(m[2])
			calls, failed = calls+more, failed+bad
		}
		return calls, failed
	}
}

// byStatus counts the lines of curl, which are "200" if all is well.
func byStatus(out string) (calls, failed int) {
	for line := range strings.Lines(out) {
		calls++
		if strings.TrimSpace(line) != "200" {
			failed++
		}
	}
	return calls, failed
}

func curl(args ...string) func(site) []string {
	return func(s site) []string {
		seconds, _ := strconv.Atoi(s.seconds)
		return append(append([]string{"curl", "-s", "-o", "/dev/null", "-w", "%{http_code}\n", "--max-time", "5", "--rate", "120/s", "--cacert", s.ca}, args...),
			fmt.Sprintf("%s?[1-%d]", s.url, 112*seconds))
	}
}

func java(version string) func(site) []string {
	return func(s site) []string {
		return []string{"java", "-XX:TieredStopAtLevel=1", "clients/Client.java", s.url, s.seconds, version, s.ca}
	}
}

// h2load has four connections with up to four requests at the same time on HTTP/2.
func h2load(args ...string) func(site) []string {
	return func(s site) []string {
		return append(append([]string{"h2load", "-D", "1", "-c", "4", "-m", "4", "--rps", "50"}, args...), s.url)
	}
}

// chromium shows the page clients/chromium.html of the server itself. The browser asks nobody else. If
// $NET_LOGS names a folder, it has the browser's own trace of each run.
func chromium(s site) []string {
	argv := []string{
		"chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir=" + s.dir,
		"--ignore-certificate-errors", "--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.*",
		"--enable-logging=stderr", strings.TrimSuffix(s.url, "/plain") + "/clients/chromium.html?" + s.seconds,
	}
	if logs := os.Getenv("NET_LOGS"); logs != "" {
		argv = append(argv, "--log-net-log="+filepath.Join(logs, filepath.Base(filepath.Dir(s.url))+".json"))
	}
	return argv
}

// spoke is byPattern for Chromium, which chooses its protocol itself.
func spoke(protocol string) func(string) (int, int) {
	return byPattern(regexp.MustCompile(`(?s)calls (\d+) failed (\d+) .*"spoke ` + protocol + `"`))
}

var others = []other{
	{name: "curl, HTTP/1.1, POST", command: curl("-d", "hi"), count: byStatus},
	// With a body that the handler leaves unread, curl 7.88 fails on a bare server, too.
	{name: "curl, HTTP/2 with TLS, GET", secure: true, command: curl("--http2"), count: byStatus},
	{name: "Node fetch, HTTP/1.1, POST", command: func(s site) []string { return []string{"node", "clients/fetch.mjs", s.url, s.seconds} }, count: byPattern(summary)},
	{name: "Java HttpClient, HTTP/1.1, POST", command: java("HTTP_1_1"), count: byPattern(summary)},
	// Before 17.0.17 it closes the connection of any GOAWAY, and now and then forgets a request
	// (JDK-8335181).
	{name: "Java HttpClient, HTTP/2 with TLS, POST", secure: true, command: java("HTTP_2"), count: byPattern(summary), mayFail: regexp.MustCompile("GOAWAY|timed out")},
	{name: "Chromium fetch, HTTP/1.1, POST", command: chromium, count: spoke("http/1.1"), slow: true, once: true},
	// A request that Chromium has not sent when it reads a GOAWAY may fail: see ../../docs/clients.md.
	{name: "Chromium fetch, HTTP/2 with TLS, POST", secure: true, command: chromium, count: spoke("h2"), slow: true, once: true, mayFail: regexp.MustCompile("Failed to fetch")},
	{name: "h2load, HTTP/1.1, GET", command: h2load("--h1"), count: byPattern(h2loads), again: true},
	// A machine that is busy for more than 1 s lets it read a GOAWAY behind an answer, or before it
	// has written a request: see "calls that the client itself refuses" in ../interop/README.md.
	{name: "h2load, HTTP/2 (h2c), GET", command: h2load(), count: byPattern(h2loads), again: true, mayFail: regexp.MustCompile("Process Request Failure|[1-9][0-9]* errored")},
}

// outcome is what a client has seen of one kind of server.
type outcome struct {
	calls, failed, opened, drains, served int
	out                                   string
}

// Clients that others have written lose no request while their connections are drained all the
// time. Beside it, the same client calls a bare server that ends connections as often.
func TestOtherClients(t *testing.T) {
	needOthers(t)
	for i := range others {
		t.Run(others[i].name, func(t *testing.T) {
			t.Parallel()
			others[i].need(t)
			bare, tracked := newFleet(t, 10+2*i, false), newFleet(t, 11+2*i, true)
			bare.maxAge = drainEvery
			bare.grow(1)
			tracked.grow(1)
			var beside, got outcome
			var wg sync.WaitGroup
			wg.Go(func() { beside = bare.drained(t, &others[i]) })
			wg.Go(func() { got = tracked.drained(t, &others[i]) })
			wg.Wait()
			t.Logf("%d calls, %d failed, %d connections, %d drains; bare: %d calls, %d failed, %d connections",
				got.calls, got.failed, got.opened, got.drains, beside.calls, beside.failed, beside.opened)
			if got.calls < 20 || got.drains < 5 || got.drains > got.opened {
				t.Errorf("got %d calls and %d drains of %d connections: %.500s", got.calls, got.drains, got.opened, got.out)
			}
			others[i].check(t, got)
			if others[i].once && got.served != got.calls-got.failed {
				t.Errorf("%d calls reached the handler, want the %d successful ones of %d", got.served, got.calls-got.failed, got.calls)
			}
		})
	}
}

func needOthers(t *testing.T) {
	t.Helper()
	if !*withOthers {
		t.Skip("needs -others")
	}
}

// need skips t if the client is not installed, and fails it in CI.
func (o *other) need(t *testing.T) {
	t.Helper()
	if (o.slow || o.mayFail != nil) && *othersFor < alone {
		t.Skipf("needs -others-for %v", alone)
	}
	_, err := exec.LookPath(o.command(site{})[0])
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal(err)
	}
	if err != nil {
		t.Skip(err)
	}
}

// check checks that no call failed, but for what the client itself gives up.
func (o *other) check(t *testing.T, got outcome) {
	t.Helper()
	if got.failed == 0 {
		return
	}
	if o.mayFail == nil || !o.mayFail.MatchString(got.out) {
		t.Errorf("%d of %d calls failed: %s", got.failed, got.calls, end(got.out))
		return
	}
	t.Logf("the client gave up %d calls: %s", got.failed, end(got.out))
}

// end returns the last lines of what a client has printed, where it sums up.
func end(out string) string { return out[max(0, len(out)-1000):] }

// drained runs a client against one pod while all connections are drained again and again.
func (f *fleet) drained(t *testing.T, o *other) (got outcome) {
	ctx, cancel := context.WithCancel(t.Context())
	p := f.pods[0]
	f.wg.Go(func() {
		tick := time.NewTicker(drainEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				p.bal.DrainAll(ctx)
			}
		}
	})
	to := p.plain
	if o.secure {
		to = p.secure
	}
	got = o.run(t, to, f.ca)
	cancel()
	got.opened, got.drains, got.served = int(f.opened.Load()), f.goaways(), int(f.served.Load())
	return got
}

// run runs a client for othersFor.
func (o *other) run(t *testing.T, addr, ca string) (got outcome) {
	ctx, cancel := context.WithTimeout(t.Context(), *othersFor+time.Minute)
	defer cancel()
	s := site{url: "http://" + addr + "/plain", ca: ca, seconds: strconv.Itoa(int(othersFor.Seconds())), dir: t.TempDir()}
	if o.secure {
		s.url = "https://" + addr + "/plain"
	}
	for end := time.Now().Add(*othersFor); ; {
		argv := o.command(s)
		raw, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
		if got.out += string(raw); err != nil {
			t.Errorf("%v: %v\n%.500s", argv, err, raw)
		}
		if !o.again || time.Now().After(end) || err != nil {
			break
		}
	}
	got.calls, got.failed = o.count(got.out)
	return got
}
