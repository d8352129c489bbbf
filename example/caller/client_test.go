package caller

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
)

func TestWrongFlags(t *testing.T) {
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
		{[]string{"-target", "x", "-tls-ca", "/no/ca"}, []string{"-tls-ca", "/no/ca"}},
	} {
		var stdout, stderr bytes.Buffer
		if code := Main(tc.args, &stdout, &stderr); code != exitUsage {
			t.Errorf("%v: exit status %d, want %d", tc.args, code, exitUsage)
		}
		if strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("%v: not one line: %q", tc.args, &stderr)
		}
		for _, want := range tc.want {
			if !strings.Contains(stderr.String(), want) {
				t.Errorf("%v: %q does not name %q", tc.args, &stderr, want)
			}
		}
	}
}

// fake answers as a pod named "p", or with an error.
type fake struct {
	hellov1.UnimplementedHelloServiceServer

	fail error
}

func (f *fake) Hi(context.Context, *hellov1.HiRequest) (*hellov1.HiResponse, error) {
	return &hellov1.HiResponse{Pod: "p"}, f.fail
}

func (f *fake) Watch(_ *hellov1.HiRequest, s hellov1.HelloService_WatchServer) error {
	return errors.Join(s.Send(&hellov1.HiResponse{Pod: "p"}), f.fail)
}

func (f *fake) Chat(s hellov1.HelloService_ChatServer) error {
	for {
		if _, err := s.Recv(); err != nil {
			return err
		}
		if err := s.Send(&hellov1.HiResponse{Pod: "p"}); err != nil {
			return err
		}
	}
}

// serve returns where f serves, and what is told of each new connection.
func serve(t *testing.T, f *fake) (addr string, from <-chan string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	noted := &noting{Listener: ln, from: make(chan string, 100)}
	srv := grpc.NewServer()
	hellov1.RegisterHelloServiceServer(srv, f)
	go func() { _ = srv.Serve(noted) }()
	t.Cleanup(srv.Stop)
	return ln.Addr().String(), noted.from
}

type noting struct {
	net.Listener

	from chan string
}

func (n *noting) Accept() (net.Conn, error) {
	conn, err := n.Listener.Accept()
	if err == nil {
		n.from <- conn.RemoteAddr().String()
	}
	return conn, err
}

func TestCounts(t *testing.T) {
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
		addr, from := serve(t, &fake{fail: tc.fail})
		var stdout, stderr bytes.Buffer
		code := Main([]string{
			"-target", addr, "-method", tc.method, "-channels", "3", "-rate", "1000", "-duration", "1s",
			"-json", "-every", "50ms", "-fail", "-source", "127.0.66.6",
		}, &stdout, &stderr)
		if code != tc.code {
			t.Errorf("%s: exit status %d, want %d: %s", tc.method, code, tc.code, &stderr)
		}
		if ip := <-from; !strings.HasPrefix(ip, "127.0.66.6:") {
			t.Errorf("%s: came from %s", tc.method, ip)
		}
		total := checkSum(t, &stdout)
		if total.Opened != 3 {
			t.Errorf("%s: %d connections opened, want one for each of 3 channels", tc.method, total.Opened)
		}
		if tc.fail == nil && (total.Calls["p"] == 0 || total.Failures > 0) {
			t.Errorf("%s: %+v", tc.method, total)
		}
		if tc.fail != nil && (total.Errors["Unavailable: no"] == 0 || total.Failures != total.Errors["Unavailable: no"]) {
			t.Errorf("%s: %+v", tc.method, total)
		}
	}
}

// checkSum: the last line is the sum of the others.
func checkSum(t *testing.T, out *bytes.Buffer) report {
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
			t.Errorf("total %+v, sum %+v", r, sum)
		}
		return r
	}
	t.Fatal("no total")
	return report{}
}

func TestSummaryForPeople(t *testing.T) {
	addr, _ := serve(t, &fake{})
	var stdout, stderr bytes.Buffer
	if code := Main([]string{"-target", addr, "-rate", "1000", "-duration", "1s"}, &stdout, &stderr); code != exitOK {
		t.Fatalf("exit status %d: %s", code, &stderr)
	}
	for _, want := range []string{" calls, 0 failed\n", "  p ", "100.0 %"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %q in %q", want, &stdout)
		}
	}
}
