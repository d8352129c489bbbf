package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/evenkeel-go/evenkeel/config"
	"github.com/evenkeel-go/evenkeel/rebalance"
	"github.com/evenkeel-go/evenkeel/serveropts"
)

// webProto is a way to speak HTTP without a library, so that the client costs nearly nothing.
type webProto string

const (
	web1 webProto = "http1"
	web2 webProto = "h2c"
)

// startWebServer serves an empty answer, bare or tracked.
func startWebServer(tb testing.TB, kind serverKind) string {
	tb.Helper()
	srv := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	serve, stop := srv.Serve, func() { _ = srv.Close() }
	if kind == evenkeel {
		bal, err := rebalance.New(config.Default(), rebalance.WithLogger(slog.New(slog.DiscardHandler)))
		must(tb, err)
		w := serveropts.HTTPServer(bal, srv)
		serve, stop = w.Serve, w.Stop
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(tb, err)
	done := make(chan struct{})
	go func() { defer close(done); _ = serve(l) }()
	tb.Cleanup(func() { stop(); <-done })
	return l.Addr().String()
}

// webClient is one connection.
type webClient struct {
	nc  net.Conn
	r   *bufio.Reader
	ask func() error
}

func dialWeb(tb testing.TB, addr string, proto webProto) *webClient {
	tb.Helper()
	nc, err := net.Dial("tcp", addr)
	must(tb, err)
	tb.Cleanup(func() { _ = nc.Close() })
	c := &webClient{nc: nc, r: bufio.NewReaderSize(nc, 4096)}
	if proto == web1 {
		c.ask = c.ask1
		return c
	}
	c.ask = c.ask2(tb)
	return c
}

var request1 = []byte("GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: bench\r\n\r\n")

func (c *webClient) ask1() error {
	if _, err := c.nc.Write(request1); err != nil {
		return err
	}
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil || len(line) == 2 {
			return err
		}
	}
}

// ask2 begins HTTP/2 and returns a function for one request.
func (c *webClient) ask2(tb testing.TB) func() error {
	tb.Helper()
	_, err := io.WriteString(c.nc, http2.ClientPreface)
	must(tb, err)
	fr := http2.NewFramer(c.nc, c.r)
	must(tb, fr.WriteSettings())
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	enc.SetMaxDynamicTableSize(0)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {":authority", "a"}} {
		must(tb, enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1], Sensitive: true}))
	}
	id := uint32(1)
	return func() error {
		err := fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, EndStream: true, BlockFragment: block.Bytes()})
		for err == nil {
			var f http2.Frame
			if f, err = fr.ReadFrame(); err != nil {
				return err
			}
			if s, ok := f.(*http2.SettingsFrame); ok && !s.IsAck() {
				err = fr.WriteSettingsAck()
			}
			if f.Header().StreamID == id && f.Header().Flags.Has(http2.FlagDataEndStream) {
				id += 2
				return nil
			}
		}
		return err
	}
}

// BenchmarkWeb measures one request after the other on one connection.
func BenchmarkWeb(b *testing.B) {
	for _, proto := range []webProto{web1, web2} {
		for _, kind := range compared() {
			b.Run(fmt.Sprintf("proto=%s/server=%s", proto, kind), func(b *testing.B) {
				c := dialWeb(b, startWebServer(b, kind), proto)
				for range 200 {
					must(b, c.ask())
				}
				b.ReportAllocs()
				for b.Loop() {
					must(b, c.ask())
				}
			})
		}
	}
}

// Promise 6, for net/http: no allocation per request.
func TestWebAllocs(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	for _, proto := range []webProto{web1, web2} {
		allocs := func(kind serverKind) float64 {
			c := dialWeb(t, startWebServer(t, kind), proto)
			for range 200 {
				must(t, c.ask())
			}
			return testing.AllocsPerRun(2000, func() { must(t, c.ask()) })
		}
		off, on := allocs(bare), allocs(evenkeel)
		t.Logf("%s: bare %.0f, evenkeel %.0f allocations per request", proto, off, on)
		if on > off+0.5 {
			t.Errorf("%s: got %.1f allocations per request, want %.1f as on a bare server", proto, on, off)
		}
	}
}

// maxExtraWebHeap is the limit on heap per idle connection above that of a bare http.Server.
const maxExtraWebHeap = 768

// Promise 6, for net/http.
func TestWebIdleHeap(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector needs memory of its own")
	}
	for _, proto := range []webProto{web1, web2} {
		off, on := webHeap(t, bare, proto), webHeap(t, evenkeel, proto)
		t.Logf("%s: bare %.0f, evenkeel %.0f bytes of heap per idle connection, its client included", proto, off, on)
		if on > off+maxExtraWebHeap {
			t.Errorf("%s: got %.0f bytes of heap more than a bare server, want at most %d", proto, on-off, maxExtraWebHeap)
		}
	}
}

// webHeap returns the heap of an idle connection with its client, the median of five.
func webHeap(t *testing.T, kind serverKind, proto webProto) float64 {
	t.Helper()
	const n = 400
	addr := startWebServer(t, kind)
	var got []float64
	for range 5 {
		growGoroutines(8 * n)
		before := settled()
		all := make([]*webClient, n)
		for i := range all {
			all[i] = dialWeb(t, addr, proto)
			must(t, all[i].ask())
		}
		after := settled()
		got = append(got, (float64(after.HeapAlloc)-float64(before.HeapAlloc))/n)
		for _, c := range all {
			_ = c.nc.Close()
		}
		runtime.KeepAlive(all)
	}
	slices.Sort(got)
	return got[len(got)/2]
}
