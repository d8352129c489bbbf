package caller

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

func TestInvalidFlags(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want []string
	}{
		{nil, []string{"-target"}},
		{[]string{"-nope"}, []string{"-nope"}},
		{[]string{"-target", "x", "y"}, []string{`"y"`}},
		{[]string{"-target", "x", "-lb", "ring", "-method", "get"}, []string{"-lb", "-method"}},
		{[]string{"-target", "x", "-rate", "0", "-channels", "0", "-every", "0s"}, []string{"-rate", "-channels", "-every"}},
		{[]string{"-target", "x", "-duration", "-1s", "-timeout", "-1s", "-source", "home"}, []string{"-duration", "-timeout", "-source"}},
		{[]string{"-target", "x", "-h2c"}, []string{"-h2c"}},
		{[]string{"-target", "x", "-tls-ca", "/no/ca"}, []string{"-tls-ca", "/no/ca"}},
	} {
		var stdout, stderr bytes.Buffer
		if code := Main(tc.args, &stdout, &stderr); code != exitUsage {
			t.Errorf("%v: exit status %d, want %d", tc.args, code, exitUsage)
		}
		if strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("%v: got %q on stderr, want one line", tc.args, &stderr)
		}
		for _, want := range tc.want {
			if !strings.Contains(stderr.String(), want) {
				t.Errorf("%v: error %q does not mention %q", tc.args, &stderr, want)
			}
		}
	}
}

// fakeService answers as a pod named "p", or fails.
type fakeService struct {
	hellov1.UnimplementedHelloServiceServer

	fail error
}

func (f *fakeService) Hi(context.Context, *hellov1.HiRequest) (*hellov1.HiResponse, error) {
	return &hellov1.HiResponse{Pod: "p"}, f.fail
}

func (f *fakeService) Watch(_ *hellov1.HiRequest, s hellov1.HelloService_WatchServer) error {
	return errors.Join(s.Send(&hellov1.HiResponse{Pod: "p"}), f.fail)
}

func (f *fakeService) Chat(s hellov1.HelloService_ChatServer) error {
	for {
		if _, err := s.Recv(); err != nil {
			return err
		}
		if err := s.Send(&hellov1.HiResponse{Pod: "p"}); err != nil {
			return err
		}
	}
}

// serve starts a server for f. It returns its address, and a channel that receives
// the remote address of each accepted connection.
func serve(t *testing.T, f *fakeService) (addr string, accepted <-chan string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	recorder := &recordingListener{Listener: ln, accepted: make(chan string, 100)}
	srv := grpc.NewServer()
	hellov1.RegisterHelloServiceServer(srv, f)
	go func() { _ = srv.Serve(recorder) }()
	t.Cleanup(srv.Stop)
	return ln.Addr().String(), recorder.accepted
}

type recordingListener struct {
	net.Listener

	accepted chan string
}

func (l *recordingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.accepted <- conn.RemoteAddr().String()
	}
	return conn, err
}

func TestReportsCountAnswersAndFailures(t *testing.T) {
	for _, tc := range []struct {
		method string
		fail   error
		code   int
	}{
		{"hi", nil, exitOK},
		{"watch", nil, exitOK},
		{"chat", nil, exitOK},
		{"hi", status.Error(codes.Unavailable, "no"), exitFail},
	} {
		addr, accepted := serve(t, &fakeService{fail: tc.fail})
		var stdout, stderr bytes.Buffer
		code := Main([]string{
			"-target", addr, "-method", tc.method, "-channels", "3", "-rate", "1000", "-duration", "1s",
			"-json", "-every", "50ms", "-fail", "-source", "127.0.66.6",
		}, &stdout, &stderr)
		if code != tc.code {
			t.Errorf("%s: exit status %d, want %d: %s", tc.method, code, tc.code, &stderr)
		}
		if ip := <-accepted; !strings.HasPrefix(ip, "127.0.66.6:") {
			t.Errorf("%s: connected from %s, want 127.0.66.6", tc.method, ip)
		}
		total := checkTotal(t, &stdout)
		if total.Opened != 3 {
			t.Errorf("%s: opened %d connections, want one for each of 3 channels", tc.method, total.Opened)
		}
		if tc.fail == nil && (total.Calls["p"] == 0 || total.Failures > 0) {
			t.Errorf("%s: total %+v, want answers of p and no failures", tc.method, total)
		}
		if tc.fail != nil && (total.Errors["Unavailable: no"] == 0 || total.Failures != total.Errors["Unavailable: no"]) {
			t.Errorf("%s: total %+v, want failures of %q only", tc.method, total, "Unavailable: no")
		}
	}
}

// Calls over HTTP keep one connection per channel, in either version.
func TestOverHTTP(t *testing.T) {
	for version, args := range map[int][]string{1: nil, 2: {"-h2c"}} {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(true)
		protocols.SetUnencryptedHTTP2(true)
		web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor != version || r.Method != http.MethodPost || r.URL.Path != "/v1/hi" {
				http.Error(w, r.Proto+" "+r.Method+" "+r.URL.Path, http.StatusBadRequest)
				return
			}
			_, _ = io.WriteString(w, `{"pod": "p"}`)
		}))
		web.Config.Protocols = protocols
		web.Start()
		var stdout, stderr bytes.Buffer
		code := Main(append(args, "-target", web.Listener.Addr().String(), "-over-http", "-channels", "3", "-rate", "60",
			"-duration", "1s", "-json", "-every", "100ms", "-fail"), &stdout, &stderr)
		web.Close()
		total := checkTotal(t, &stdout)
		if code != exitOK || total.Opened != 3 || total.Calls["p"] == 0 {
			t.Errorf("HTTP/%d: exit status %d, total %+v, want answers of p over 3 connections: %s", version, code, total, &stderr)
		}
	}
}

// checkTotal checks that the last report is the sum of the others, and returns it.
func checkTotal(t *testing.T, out *bytes.Buffer) report {
	t.Helper()
	sum := newReport(time.Now())
	dec := json.NewDecoder(out)
	for dec.More() {
		var r report
		if err := dec.Decode(&r); err != nil {
			t.Fatal(err)
		}
		if !r.Total {
			sum.add(&r)
			continue
		}
		if dec.More() || sum.Calls["p"] != r.Calls["p"] || sum.Failures != r.Failures {
			t.Errorf("total %+v, want it last and equal to the sum %+v", r, sum)
		}
		return r
	}
	t.Fatal("the output has no total")
	return report{}
}

func TestSummaryForPeople(t *testing.T) {
	addr, _ := serve(t, &fakeService{})
	var stdout, stderr bytes.Buffer
	if code := Main([]string{"-target", addr, "-rate", "1000", "-duration", "1s"}, &stdout, &stderr); code != exitOK {
		t.Fatalf("exit status %d: %s", code, &stderr)
	}
	for _, want := range []string{" calls, 0 failed\n", "  p ", "100.0 %"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("summary %q does not contain %q", &stdout, want)
		}
	}
}
