package acks

import (
	"bytes"
	"slices"
	"testing"

	"golang.org/x/net/http2"
	"pgregory.net/rapid"

	"github.com/evenkeel-go/evenkeel/cmd/evenkeel-sidecar/internal/pass"
)

// recorder is an upstream that records what it gets.
type recorder struct {
	pass.Side
	got    bytes.Buffer
	writes int
	ended  bool
}

func (r *recorder) Write(p []byte) (int, error) {
	r.writes++
	return r.got.Write(p)
}

func (r *recorder) CloseWrite() error { r.ended = true; return nil }

// yes is the answer of a sidecar that drains the connection, no that of one that does not.
func yes() bool { return true }
func no() bool  { return false }

// frames composes what a client sends, and what of it must reach the upstream.
func frames(kinds []int) (sent, want []byte) {
	sent = []byte(http2.ClientPreface)
	want = slices.Clone(sent)
	for i, kind := range kinds {
		var b bytes.Buffer
		fr := http2.NewFramer(&b, nil)
		fr.AllowIllegalWrites = true
		own := false
		switch kind {
		case 0:
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: []byte("block"), EndHeaders: true})
		case 1:
			_ = fr.WriteData(1, false, bytes.Repeat([]byte("\x00\x00\x08\x06\x01\x00\x00\x00\x00evenkeel"), i%4))
		case 2:
			_ = fr.WritePing(true, [8]byte([]byte("upstream")))
		case 3:
			_ = fr.WritePing(false, [8]byte([]byte("evenkeel")))
		case 4, 5, 6:
			own = true
			_ = fr.WritePing(true, [8]byte([]byte([]string{"evenkeel", "evenhold", "evenlast"}[kind-4])))
		case 7:
			_ = fr.WriteSettingsAck()
		case 8:
			_ = fr.WriteRawFrame(http2.FramePing, http2.FlagPingAck, 0, []byte("evenkee")) // too short
		}
		sent = append(sent, b.Bytes()...)
		if !own {
			want = append(want, b.Bytes()...)
		}
	}
	return sent, want
}

// However the bytes are cut, the upstream gets all but acknowledgements of evenkeel's PINGs.
func TestCutAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sent, want := frames(rapid.SliceOf(rapid.IntRange(0, 8)).Draw(t, "frames"))
		r := &recorder{}
		f := New(r, yes)
		for rest := sent; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "cut")
			if m, err := f.Write(rest[:n]); m != n || err != nil {
				t.Fatalf("Write of %d bytes returned %d, %v", n, m, err)
			}
			rest = rest[n:]
		}
		if err := f.CloseWrite(); err != nil || !r.ended {
			t.Fatalf("CloseWrite returned %v, ended: %v", err, r.ended)
		}
		if !bytes.Equal(r.got.Bytes(), want) {
			t.Fatalf("the upstream got\n%q\nwant\n%q", r.got.Bytes(), want)
		}
	})
}

// While the sidecar has sent no PING, acknowledgements are for an upstream that uses evenkeel.
func TestAcksOfTheUpstreamPass(t *testing.T) {
	sent, _ := frames([]int{7, 4, 0, 5, 6, 1})
	for _, size := range []int{1, 10, len(sent)} {
		r := &recorder{}
		f := New(r, no)
		for part := range slices.Chunk(sent, size) {
			_, _ = f.Write(part)
		}
		if _ = f.CloseWrite(); !bytes.Equal(r.got.Bytes(), sent) {
			t.Errorf("cut into %d bytes: the upstream got\n%q\nwant\n%q", size, r.got.Bytes(), sent)
		}
	}
}

// What is not cut is passed on with one write, and what is no HTTP/2 is passed on as it is.
func TestWrites(t *testing.T) {
	sent, _ := frames([]int{7, 0, 1, 1, 1, 2, 3})
	r := &recorder{}
	if _, _ = New(r, yes).Write(sent); r.writes != 1 || !bytes.Equal(r.got.Bytes(), sent) {
		t.Errorf("%d writes of %q, want one of %q", r.writes, r.got.Bytes(), sent)
	}
	other := append([]byte("GET / HTTP/1.1\r\n"), "\x00\x00\x08\x06\x01\x00\x00\x00\x00evenkeel"...)
	r = &recorder{}
	if _, _ = New(r, yes).Write(other); r.writes != 1 || !bytes.Equal(r.got.Bytes(), other) {
		t.Errorf("%d writes of %q, want one of %q", r.writes, r.got.Bytes(), other)
	}
}

// A client may end its side in the middle of a frame. All bytes of it are passed on first.
func TestEndInAFrame(t *testing.T) {
	sent, _ := frames([]int{4})
	for n := range sent {
		r := &recorder{}
		f := New(r, yes)
		_, _ = f.Write(sent[:n])
		_ = f.CloseWrite()
		if !bytes.Equal(r.got.Bytes(), sent[:n]) {
			t.Errorf("after %d bytes the upstream got %q, want %q", n, r.got.Bytes(), sent[:n])
		}
	}
}

// The filter allocates nothing.
func TestAllocations(t *testing.T) {
	sent, _ := frames([]int{7, 0, 1, 2, 4, 0})
	r := &recorder{}
	f := New(r, yes)
	_, _ = f.Write(sent)
	_, cut := frames([]int{0, 1, 2})
	cut = cut[len(http2.ClientPreface):]
	if n := testing.AllocsPerRun(100, func() {
		r.got.Reset()
		_, _ = f.Write(cut)
	}); n > 0 {
		t.Errorf("%v allocations per write, want none", n)
	}
}

func BenchmarkWrite(b *testing.B) {
	sent, _ := frames([]int{0, 1, 7, 0, 1, 7})
	r := &recorder{}
	f := New(r, yes)
	_, _ = f.Write(sent)
	sent = sent[len(http2.ClientPreface):]
	b.ReportAllocs()
	for b.Loop() {
		r.got.Reset()
		_, _ = f.Write(sent)
	}
}

// Whatever a client sends, it does not matter where it is cut, and nothing is missing but whole
// frames of evenkeel's.
func FuzzCuts(f *testing.F) {
	sent, _ := frames([]int{7, 0, 4, 1, 2, 5, 8, 6, 3})
	f.Add(sent, uint16(1))
	f.Add(sent[:len(sent)-5], uint16(7))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint16(3))
	f.Fuzz(func(t *testing.T, sent []byte, step uint16) {
		size := int(step)%64 + 1
		whole, cut := &recorder{}, &recorder{}
		at, parts := New(whole, yes), New(cut, yes)
		_, _ = at.Write(slices.Clone(sent))
		for rest := sent; len(rest) > 0; rest = rest[min(size, len(rest)):] {
			_, _ = parts.Write(rest[:min(size, len(rest))])
		}
		_, _ = at.CloseWrite(), parts.CloseWrite()
		if !bytes.Equal(whole.got.Bytes(), cut.got.Bytes()) {
			t.Fatalf("whole:\n%q\ncut:\n%q", whole.got.Bytes(), cut.got.Bytes())
		}
		if missing := len(sent) - cut.got.Len(); missing%pingLen != 0 || missing > 0 && !bytes.Contains(sent, []byte("even")) {
			t.Fatalf("%d of %d bytes are missing", missing, len(sent))
		}
	})
}
