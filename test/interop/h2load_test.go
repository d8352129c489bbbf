//go:build interop

package interop

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"
)

var (
	h2loadVersion = regexp.MustCompile(`nghttp2/(\S+)`)
	h2loadLine    = regexp.MustCompile(`requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, \d+ failed, \d+ errored`)
)

// h2loadRun is how long one h2load runs: long enough for one GOAWAY on each of its connections.
// After that it only waits, since it never reconnects.
const h2loadRun = 4 * time.Second

// h2load runs h2load several times, against one server after the other. A call that was started
// and did not succeed has failed.
func h2load(t *testing.T, s *server) result {
	r := result{Client: "h2load", Version: h2loadVersion.FindStringSubmatch(h2loadOut(t, "--version"))[1], Errors: map[string]int{}}
	body := filepath.Join(t.TempDir(), "body")
	// HiRequest{to_who: "you", message: "hello"} after gRPC's prefix of five bytes.
	if err := os.WriteFile(body, []byte("\x00\x00\x00\x00\x0c\x0a\x03you\x12\x05hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range (row{}).seconds(t) / int(h2loadRun/time.Second) {
		out := h2loadOut(t, "-D", strconv.Itoa(int(h2loadRun/time.Second)), "-c", "4", "-m", strconv.Itoa(h2loadInFlight), "-d", body,
			"-H", "content-type: application/grpc", "-H", "te: trailers",
			"http://"+s.GRPC[i%len(s.GRPC)]+"/hello.v1.HelloService/Hi")
		m := h2loadLine.FindStringSubmatch(out)
		if m == nil {
			t.Fatalf("h2load printed no summary:\n%s", out)
		}
		started, _ := strconv.Atoi(m[2])
		succeeded, _ := strconv.Atoi(m[4])
		r.Calls += started
		r.Failed += started - succeeded
		if started != succeeded {
			r.Errors[m[0]]++
		}
	}
	return r
}

func h2loadOut(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "h2load", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("h2load: %v\n%s", err, out)
	}
	return string(out)
}
