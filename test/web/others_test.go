package web

import (
	"context"
	"flag"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	// othersRun is how long each client runs.
	othersRun = 8 * time.Second
	// drainEvery is how often all of its connections are drained meanwhile: far more often than
	// in any fleet.
	drainEvery = 400 * time.Millisecond
)

var withOthers = flag.Bool("others", false, "run clients in other languages, too: curl, Node and Java, as far as they are installed")

// other is a client in another language, with the command that runs it against a URL. Its output
// has a line "calls N failed M".
type other struct {
	name    string
	command func(url string) []string
	count   func(out string) (calls, failed int)
}

var summary = regexp.MustCompile(`calls (\d+) failed (\d+)`)

func bySummary(out string) (calls, failed int) {
	if m := summary.FindStringSubmatch(out); m != nil {
		calls, _ = strconv.Atoi(m[1])
		failed, _ = strconv.Atoi(m[2])
	}
	return calls, failed
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

func curl(args ...string) func(string) []string {
	return func(url string) []string {
		return append(append([]string{"curl", "-s", "-o", "/dev/null", "-w", "%{http_code}\n", "--max-time", "5", "--rate", "120/s"}, args...), url+"?[1-900]")
	}
}

var secs = strconv.Itoa(int(othersRun / time.Second))

var others = []other{
	{"curl, HTTP/1.1", curl("-d", "hi"), byStatus},
	// With a body that the handler leaves unread, curl 7.88 fails on a bare server, too.
	{"curl, HTTP/2 with TLS", curl("--http2", "-k"), byStatus},
	{"Node fetch, HTTP/1.1", func(url string) []string { return []string{"node", "clients/fetch.mjs", url, secs} }, bySummary},
	{"Java HttpClient, HTTP/1.1", func(url string) []string { return []string{"java", "clients/Client.java", url, secs, "HTTP_1_1"} }, bySummary},
}

// Clients that others have written lose no request while their connections are drained all the
// time.
func TestOtherClients(t *testing.T) {
	if !*withOthers {
		t.Skip("needs -others")
	}
	for i, o := range others {
		t.Run(o.name, func(t *testing.T) {
			if _, err := exec.LookPath(o.command("")[0]); err != nil {
				t.Skip(err)
			}
			for n, tracked := range []bool{false, true} {
				f := newFleet(t, 10+2*i+n, tracked)
				f.grow(1)
				calls, failed, out := f.run(t, o)
				drains := f.goaways()
				t.Logf("tracked %v: %d calls, %d failed, %d drains", tracked, calls, failed, drains)
				if calls < 50 || failed > 0 || tracked && drains < 5 {
					t.Errorf("got %d calls, %d failed, %d drains: %.500s", calls, failed, drains, out)
				}
			}
		})
	}
}

// run runs a client while all connections are drained again and again.
func (f *fleet) run(t *testing.T, o other) (calls, failed int, out string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	url := fmt.Sprintf("http://%s/plain", f.pods[0].plain)
	if strings.Contains(o.name, "TLS") {
		url = fmt.Sprintf("https://%s/plain", f.pods[0].secure)
	}
	argv := o.command(url)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	ended := make(chan struct{})
	f.wg.Go(func() {
		tick := time.NewTicker(drainEvery)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
				f.pods[0].bal.DrainAll(ctx)
			}
		}
	})
	raw, err := cmd.CombinedOutput()
	close(ended)
	if err != nil {
		t.Errorf("%v: %v\n%.500s", argv, err, raw)
	}
	calls, failed = o.count(string(raw))
	return calls, failed, string(raw)
}
