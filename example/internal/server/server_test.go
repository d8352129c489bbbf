package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
	"github.com/evenkeel-go/evenkeel/rebalance"
)

// running is a call of Main in this process, with the addresses that it announced.
type running struct {
	grpc, http, gateway string
	exit                chan int
}

var announced = regexp.MustCompile(`grpc=(\S+) http=(\S+)(?: gateway=(\S+))?`)

// start runs Main on ports that the system chooses. Signals reach the whole process, so
// tests with a server do not run in parallel.
func start(t *testing.T, args ...string) *running {
	t.Helper()
	stdout, w := io.Pipe()
	r := &running{exit: make(chan int, 1)}
	go func() {
		code := Main(append([]string{"-grpc", "127.0.0.1:0", "-http", "127.0.0.1:0", "-name", "pod-a", "-log-level", "error"}, args...), w, os.Stderr)
		_ = w.Close()
		r.exit <- code
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	m := announced.FindStringSubmatch(line)
	if err != nil || m == nil {
		t.Fatalf("got the line %q, want the addresses: %v", line, err)
	}
	r.grpc, r.http, r.gateway = m[1], m[2], m[3]
	return r
}

// stop sends SIGTERM and checks the exit status.
func (r *running) stop(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case code := <-r.exit:
		if code != exitOK {
			t.Errorf("exit status %d, want %d", code, exitOK)
		}
	case <-time.After(time.Minute):
		t.Fatal("the server has not stopped within a minute of SIGTERM")
	}
}

func dial(t *testing.T, addr string, creds credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestServices(t *testing.T) {
	r := start(t)
	defer r.stop(t)
	conn := dial(t, r.grpc, insecure.NewCredentials())
	got, err := hellov1.NewHelloServiceClient(conn).Hi(t.Context(), &hellov1.HiRequest{ToWho: "Ann", Message: "hi"})
	if err != nil || got.GetPod() != "pod-a" || got.GetFromWho() != "Ann" || got.GetMessage() != "hi" {
		t.Errorf("Hi returned %v, %v; want the greeting of Ann from pod-a", got, err)
	}
	h, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || h.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health check returned %v, %v; want SERVING", h, err)
	}
	checkIntrospection(t, conn, true)
}

// checkIntrospection checks whether reflection and channelz are served.
func checkIntrospection(t *testing.T, conn *grpc.ClientConn, want bool) {
	t.Helper()
	for _, method := range []string{
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/grpc.channelz.v1.Channelz/GetTopChannels",
	} {
		// Any other answer to this invalid request shows that the service is registered.
		err := conn.Invoke(t.Context(), method, &hellov1.HiRequest{}, &hellov1.HiResponse{})
		if got := status.Code(err) != codes.Unimplemented; got != want {
			t.Errorf("%s is served: %t, want %t (%v)", method, got, want, err)
		}
	}
}

// The image shows a caller neither all services nor all connections, unless it is asked to.
func TestWithoutIntrospection(t *testing.T) {
	r := start(t, "-introspection=false")
	defer r.stop(t)
	checkIntrospection(t, dial(t, r.grpc, insecure.NewCredentials()), false)
}

func TestChatEndsWhenClientCloses(t *testing.T) {
	r := start(t)
	defer r.stop(t)
	chat, err := hellov1.NewHelloServiceClient(dial(t, r.grpc, insecure.NewCredentials())).Chat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := chat.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := chat.Recv(); err != io.EOF {
		t.Errorf("got %v, want io.EOF", err)
	}
}

func TestGateway(t *testing.T) {
	cert, key := selfSigned(t)
	for _, tc := range []struct {
		name string
		args []string
	}{
		{"plaintext", nil},
		{"TLS", []string{"-tls-cert", cert, "-tls-key", key}},
		{"mTLS", []string{"-tls-cert", cert, "-tls-key", key, "-tls-client-ca", cert}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := start(t, append(tc.args, "-gateway", "127.0.0.1:0")...)
			defer r.stop(t)
			body := strings.NewReader(`{"toWho": "Ann", "message": "hi"}`)
			resp, err := http.Post("http://"+r.gateway+"/v1/hi", "application/json", body)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			answer, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != http.StatusOK || !bytes.Contains(answer, []byte(`"pod-a"`)) {
				t.Errorf("got %s: %s, want 200 and an answer of pod-a", resp.Status, answer)
			}
			// The gateway's own connection to its process is no client.
			var got rebalance.Status
			if err := json.Unmarshal(get(t, "http://"+r.http+"/statusz"), &got); err != nil {
				t.Fatal(err)
			}
			if got.Connections != 1 || got.Load != 1 || got.Untracked != 0 {
				t.Errorf("got %d connections, a load of %v and %d untracked RPCs, want 1, 1 and 0", got.Connections, got.Load, got.Untracked)
			}
		})
	}
}

// The gateway answers HTTP/2 without TLS, too, and tracks the connection.
func TestGatewayOverHTTP2(t *testing.T) {
	r := start(t, "-gateway", "127.0.0.1:0")
	defer r.stop(t)
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Post("http://"+r.gateway+"/v1/hi", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got rebalance.Status
	if err := json.Unmarshal(get(t, "http://"+r.http+"/statusz"), &got); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 || got.Connections != 1 {
		t.Errorf("got %s over %s and %d connections, want 200 over HTTP/2.0 and 1", resp.Status, resp.Proto, got.Connections)
	}
}

func TestPortInUse(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	busy := ln.Addr().String()
	for _, name := range []string{"-grpc", "-http", "-gateway"} {
		args := []string{"-grpc", "127.0.0.1:0", "-http", "127.0.0.1:0", name, busy}
		var stdout, stderr bytes.Buffer
		if code := Main(args, &stdout, &stderr); code != exitFail {
			t.Errorf("%s: exit status %d, want %d", name, code, exitFail)
		}
		want := "server: " + name + " " + busy + ": address already in use\n"
		if stderr.String() != want {
			t.Errorf("got %q on stderr, want %q", stderr.String(), want)
		}
	}
}

// With -bare, the GOAWAYs that grpc-go sends by itself are counted.
func TestBareMaxConnectionAge(t *testing.T) {
	r := start(t, "-bare", "-bare-max-connection-age", "1s")
	defer r.stop(t)
	conn := dial(t, r.grpc, insecure.NewCredentials())
	c := hellov1.NewHelloServiceClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !bytes.Contains(get(t, "http://"+r.http+"/metrics"), []byte(`evenkeel_goaways_total{reason="server"} 1`)) {
		if _, err := c.Hi(ctx, &hellov1.HiRequest{}); err != nil {
			t.Fatal(err)
		}
	}
}

// -drain-every drains connections, and no call fails because of it.
func TestDrainEvery(t *testing.T) {
	r := start(t, "-drain-every", "50ms")
	defer r.stop(t)
	c := hellov1.NewHelloServiceClient(dial(t, r.grpc, insecure.NewCredentials()))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	none := []byte(`evenkeel_goaways_total{reason="manual"} 0`)
	for bytes.Contains(get(t, "http://"+r.http+"/metrics"), none) {
		if _, err := c.Hi(ctx, &hellov1.HiRequest{}); err != nil {
			t.Fatal(err)
		}
	}
}

// A configuration file that becomes invalid is shown in /statusz until it is valid again.
func TestInvalidConfigFileIsShown(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("rebalance:\n  tolerance: 0.2\n")
	r := start(t, "-config", file)
	defer r.stop(t)
	statusz := "http://" + r.http + "/statusz"
	badKey := []byte("rebalance.tolerances")

	write("rebalance:\n  tolerances: 0.2\n")
	await(t, func() bool { return bytes.Contains(get(t, statusz), badKey) })
	write("rebalance:\n  tolerance: 0.3\n")
	await(t, func() bool { return !bytes.Contains(get(t, statusz), badKey) })
}

func await(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); {
		if time.Now().After(deadline) {
			t.Fatal("the condition is still false after a minute")
		}
	}
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}
