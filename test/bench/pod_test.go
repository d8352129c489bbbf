package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/evenkeel-go/evenkeel/config"
	hellov1 "github.com/evenkeel-go/evenkeel/example/gen/hello/v1"
	"github.com/evenkeel-go/evenkeel/internal/conns"
	"github.com/evenkeel-go/evenkeel/internal/h2conn"
	"github.com/evenkeel-go/evenkeel/internal/inside"
	"github.com/evenkeel-go/evenkeel/internal/peerz"
	"github.com/evenkeel-go/evenkeel/peers"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

// podEnv makes a child of this test binary run as a pod, on one processor and alone in its
// process.
const podEnv = "EVENKEEL_BENCH_POD"

// podSpec is what a pod is like.
type podSpec struct {
	kind  podKind
	held  int  // connections without a socket, beside those of real clients
	fresh bool // each of them had an RPC a moment ago
}

// podKind is what runs in a pod.
type podKind string

const (
	barePod    podKind = "bare"    // grpc.NewServer alone
	noRunPod   podKind = "no-run"  // evenkeel, but Run is not called
	runningPod podKind = "running" // evenkeel as it should be
)

// podMain is the main function of a pod. It prints its address and then answers a line for each
// command on its standard input, until that ends.
func podMain(spec string) int {
	var s podSpec
	if _, err := fmt.Sscan(spec, &s.kind, &s.held, &s.fresh); err != nil {
		fmt.Fprintln(os.Stderr, "pod:", err)
		return 2
	}
	p := &pod{members: make(chan peers.Membership, 1)}
	srv := p.server(&s)
	hellov1.RegisterHelloServiceServer(srv, &hello{})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, "pod:", err)
		return 1
	}
	defer srv.Stop()
	go func() { _ = srv.Serve(lis) }()
	debug.FreeOSMemory() // the garbage of the start is not measured
	fmt.Println(lis.Addr())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(p.command(in.Text()))
	}
	return 0
}

// pod is one server with many connections. It is also its own source of peers.
type pod struct {
	bal     *rebalance.Balancer
	members chan peers.Membership
	moved   atomic.Int64
}

func (p *pod) command(c string) any {
	switch c {
	case "cpu":
		return cpuTime().Nanoseconds()
	case "grow":
		p.members <- membership(selfAddr, newPod())
	}
	return p.moved.Load()
}

// server returns the pod's server and fills it with connections.
func (p *pod) server(s *podSpec) *grpc.Server {
	if s.kind == barePod {
		return grpc.NewServer()
	}
	cfg := config.Default()
	cfg.Rebalance.MaxPerSecond = 250
	var err error
	p.bal, err = rebalance.New(cfg, rebalance.WithSelf("pod-a", selfAddr.Addr().String()), rebalance.WithPeers(p),
		rebalance.WithKey(func(i rebalance.ConnInfo) string { return i.RemoteAddr.String() }),
		rebalance.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		panic(err)
	}
	p.members <- membership(selfAddr)
	for i := range s.held {
		p.hold(i, s.fresh)
	}
	if s.kind == runningPod {
		go func() { _ = p.bal.Run(context.Background()) }()
	}
	return grpc.NewServer(serveropts.Options(p.bal, insecure.NewCredentials())...)
}

// hold adds a connection without a socket.
func (p *pod) hold(i int, fresh bool) {
	c := &channel{silent: newSilent(i), pod: p, i: i}
	nc := inside.Of(p.bal).Track(c, nil)
	c.close = nc.Close
	_, _ = nc.Write([]byte{0, 0, 0, byte(http2.FrameSettings), 0, 0, 0, 0, 0}) // a GOAWAY may not come earlier
	if fresh {
		c.callOnce(nc)
		return
	}
	conns.FromAddr(nc.RemoteAddr()).OnUse(h2conn.InUse)
}

// channel is the connection of a client that comes back at once when it is drained, as
// round_robin does.
type channel struct {
	*silent

	pod   *pod
	i     int
	in    bytes.Buffer
	close func() error
}

func (c *channel) Read(b []byte) (int, error) { return c.in.Read(b) }

func (c *channel) Write(b []byte) (int, error) {
	if len(b) > 3 && http2.FrameType(b[3]) == http2.FrameGoAway {
		go func() {
			_ = c.close()
			c.pod.moved.Add(1)
			c.pod.hold(c.i, false)
		}()
	}
	return len(b), nil
}

// callOnce opens a stream, and the client cancels it.
func (c *channel) callOnce(nc net.Conn) {
	c.in.WriteString(http2.ClientPreface)
	fr := http2.NewFramer(&c.in, nil)
	_ = fr.WriteSettings()
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: []byte{0x84}}) // :path /
	_ = fr.WriteRSTStream(1, http2.ErrCodeCancel)
	_, _ = nc.Read(make([]byte, c.in.Len()))
	c.in = bytes.Buffer{}
}

// String names the source.
func (*pod) String() string { return "bench" }

// Run reports the membership until ctx is done.
func (p *pod) Run(ctx context.Context, report func(peers.Membership)) error {
	renew := time.NewTicker(time.Second)
	defer renew.Stop()
	m := <-p.members
	for {
		report(m)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-renew.C:
		case m = <-p.members:
		}
	}
}

var selfAddr = netip.MustParseAddrPort("127.0.3.1:8080")

func membership(pods ...netip.AddrPort) peers.Membership {
	var m peers.Membership
	for _, a := range pods {
		m.Members = append(m.Members, peers.Member{Addrs: []netip.Addr{a.Addr()}, Port: int(a.Port())})
	}
	return m
}

// newPod returns the address of a peer that answers as a pod without connections does.
func newPod() netip.AddrPort {
	begun := time.Now()
	lis, err := net.Listen("tcp", "127.0.3.2:0")
	if err != nil {
		panic(err)
	}
	srv := &httptest.Server{Listener: lis, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(peerz.Report{
			Pod: "pod-b", Ready: true, UptimeMillis: time.Since(begun).Milliseconds(),
			Loads: map[string]float64{config.WeightConnections: 0},
		})
	})}}
	srv.Start()
	return netip.MustParseAddrPort(lis.Addr().String())
}

// remotePod is a pod in another process.
type remotePod struct {
	in    io.Writer
	out   *bufio.Reader
	hello hellov1.HelloServiceClient
}

// startPod starts a pod on one processor, and a client of it.
func startPod(tb testing.TB, s podSpec) *remotePod {
	tb.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %t", podEnv, s.kind, s.held, s.fresh), "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(tb, err)
	out, err := cmd.StdoutPipe()
	must(tb, err)
	must(tb, cmd.Start())
	tb.Cleanup(func() {
		must(tb, in.Close())
		_, _ = io.Copy(io.Discard, out)
		must(tb, cmd.Wait())
	})
	p := &remotePod{in: in, out: bufio.NewReader(out)}
	cc, err := grpc.NewClient("passthrough:///"+p.answer(tb), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(tb, err)
	tb.Cleanup(func() { must(tb, cc.Close()) })
	p.hello = hellov1.NewHelloServiceClient(cc)
	must(tb, unary(tb.Context(), p.hello, warmUp))
	return p
}

func (p *remotePod) answer(tb testing.TB) string {
	tb.Helper()
	line, err := p.out.ReadString('\n')
	must(tb, err)
	return line[:len(line)-1]
}

// ask sends a command and returns the number in the answer.
func (p *remotePod) ask(tb testing.TB, command string) (n int64) {
	tb.Helper()
	_, err := fmt.Fprintln(p.in, command)
	must(tb, err)
	_, err = fmt.Sscan(p.answer(tb), &n)
	must(tb, err)
	return n
}

// callEvery makes RPCs at a fixed rate, which a slow one does not hold up, and returns how long
// each took in microseconds.
func (p *remotePod) callEvery(tb testing.TB, gap, whole time.Duration) []float64 {
	tb.Helper()
	runtime.GC()
	n := int(whole / gap)
	took := make([]float64, n)
	done := make(chan error, n)
	begun := time.Now()
	for i := range n {
		time.Sleep(time.Until(begun.Add(time.Duration(i) * gap)))
		go func() {
			sent := time.Now()
			_, err := p.hello.Hi(context.Background(), request())
			took[i] = float64(time.Since(sent).Nanoseconds()) / 1000
			done <- err
		}()
	}
	for range n {
		must(tb, <-done)
	}
	return took
}
