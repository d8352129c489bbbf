package h2conn

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// request writes requests as one client would: with one HPACK encoder.
type request struct {
	*wire

	enc    *hpack.Encoder
	block  bytes.Buffer
	stream uint32
}

func newRequests() *request {
	r := &request{wire: newWire(), stream: 1}
	r.enc = hpack.NewEncoder(&r.block)
	r.WriteString(http2.ClientPreface)
	_ = r.WriteSettings()
	return r
}

func (r *request) encode(path string, more ...string) []byte {
	r.block.Reset()
	fields := append([]string{":method", "POST", ":scheme", "http"}, more...)
	if path != "" {
		fields = append(fields, ":path", path)
	}
	for f := range slices.Chunk(fields, 2) {
		_ = r.enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	return bytes.Clone(r.block.Bytes())
}

// call writes the HEADERS of a request.
func (r *request) call(path string) {
	r.send(http2.HeadersFrameParam{BlockFragment: r.encode(path), EndHeaders: true})
}

func (r *request) send(p http2.HeadersFrameParam) {
	p.StreamID = r.stream
	_ = r.WriteHeaders(p)
	r.stream += 2
}

func useOf(path string) Use {
	switch path {
	case probePath:
		return Probed
	case watchPath:
		return Ready
	}
	return InUse
}

const (
	probePath = "/grpc.health.v1.Health/Check"
	watchPath = "/grpc.health.v1.Health/Watch"
	callPath  = "/hello.v1.HelloService/Hi"
)

func TestUse(t *testing.T) {
	for name, tc := range map[string]struct {
		send func(*request)
		want []Use
	}{
		"nothing":      {func(*request) {}, []Use{Ready}},
		"a call":       {func(r *request) { r.call(callPath) }, []Use{InUse}},
		"a probe":      {func(r *request) { r.call(probePath) }, []Use{Probed}},
		"many probes":  {func(r *request) { r.call(probePath); r.call(probePath); r.call(probePath) }, []Use{Probed}},
		"probe, call":  {func(r *request) { r.call(probePath); r.call(probePath); r.call(callPath) }, []Use{Probed, InUse}},
		"call, probe":  {func(r *request) { r.call(callPath); r.call(probePath) }, []Use{InUse}},
		"watch":        {func(r *request) { r.call(watchPath) }, []Use{Ready}},
		"watch, call":  {func(r *request) { r.call(watchPath); r.call(callPath) }, []Use{InUse}},
		"watch, probe": {func(r *request) { r.call(watchPath); r.call(probePath); r.call(watchPath) }, []Use{Probed}},
		"another name": {func(r *request) { r.call(probePath + "2") }, []Use{InUse}},
		"no path":      {func(r *request) { r.call("") }, []Use{Ready}},
		"padded, with a priority": {func(r *request) {
			r.send(http2.HeadersFrameParam{
				BlockFragment: r.encode(probePath), EndHeaders: true, PadLength: 7, Priority: http2.PriorityParam{Weight: 3},
			})
		}, []Use{Probed}},
		"continued": {func(r *request) {
			b := r.encode(probePath)
			r.send(http2.HeadersFrameParam{BlockFragment: b[:3], PadLength: 2})
			_ = r.WriteContinuation(1, false, b[3:9])
			_ = r.WriteContinuation(1, true, b[9:])
			r.call(callPath)
		}, []Use{Probed, InUse}},
		"too much padding": {func(r *request) {
			_ = r.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersPadded, 1, []byte{200, 1, 2})
		}, []Use{InUse}},
		"no HPACK": {func(r *request) {
			r.send(http2.HeadersFrameParam{BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, EndHeaders: true})
		}, []Use{InUse}},
		"a long header": {func(r *request) {
			b := r.encode(probePath, "long", strings.Repeat("\x00", 20_000))
			r.send(http2.HeadersFrameParam{BlockFragment: b[:10_000]})
			_ = r.WriteContinuation(1, false, b[10_000:])
		}, []Use{InUse}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRequests()
			tc.send(r)
			in := r.take()
			for _, size := range []int{1, 7, len(in)} {
				rec := newRecorder()
				c := New(&memConn{in: in}, &Config{UseOf: useOf}, rec)
				buf := make([]byte, size)
				for range (len(in) + size - 1) / size {
					_, _ = c.Read(buf)
				}
				// What one read brings is reported once. SETTINGS come first.
				if want := slices.Compact(append([]Use{Ready}, tc.want...)); size == 1 && !slices.Equal(rec.uses, want) {
					t.Errorf("uses %v, want %v", rec.uses, want)
				}
				if got, want := rec.uses[len(rec.uses)-1], tc.want[len(tc.want)-1]; got != want {
					t.Errorf("in pieces of %d bytes: use is %v, want %v", size, got, want)
				}
				if done := c.in.paths == noPaths; done != (c.use == InUse) {
					t.Errorf("a connection that is %v still reads paths: %t", c.use, !done)
				}
				_ = c.Close()
			}
		})
	}
}

// Until its client speaks HTTP/2, a connection is Silent. One that grpc-go drops unclosed,
// as it does if it cannot make a transport, leaves no trace.
func TestSilentConnectionIsNotReported(t *testing.T) {
	rec := newRecorder()
	c := New(&memConn{in: []byte(http2.ClientPreface)}, nil, rec)
	w := newWire()
	_ = w.WriteSettings()
	writeSome(t, c, w.Bytes(), w.Len())
	_, _ = c.Read(make([]byte, 100))
	if len(rec.uses) > 0 || len(rec.all()) > 0 {
		t.Errorf("the observer got %v and %q of a connection whose client has said nothing", rec.uses, rec.all())
	}
}
