package h2conn

import (
	"bytes"
	"testing"
	"testing/synctest"

	"golang.org/x/net/http2"
)

// cutter returns the lengths of pieces, over and over.
type cutter struct {
	cuts []byte
	at   int
}

func (c *cutter) next() int {
	if len(c.cuts) == 0 {
		return 1 << 20
	}
	n := int(c.cuts[c.at%len(c.cuts)]) + 1
	c.at++
	return n
}

// FuzzClientBytes lets the client send any bytes, cut anywhere.
func FuzzClientBytes(f *testing.F) {
	for _, seed := range clientSeeds() {
		f.Add(seed, []byte{})
		f.Add(seed, []byte{0})
		f.Add(seed, []byte{8, 3, 23})
	}
	f.Fuzz(func(t *testing.T, client, cuts []byte) {
		nc := &memConn{}
		rec := newRecorder()
		c := New(nc, nil, rec)
		effects, ok := clientEffects(client)
		ref := newRefStreams()
		buf := make([]byte, 256)
		cut := cutter{cuts: cuts}
		for read := 0; read < len(client); {
			nc.in = client[read:min(len(client), read+cut.next())]
			read += readSome(t, c, buf, nc.in)
			effects = ref.pass(effects, read)
			ref.compare(t, c)
		}
		if lost := c.Lost() != nil; lost == ok {
			t.Fatalf("lost: %v, want %t", c.Lost(), !ok)
		}
		if c.State() != Open || nc.out.Len() > 0 {
			t.Fatalf("state %v, %d bytes written, want %v, 0", c.State(), nc.out.Len(), Open)
		}
	})
}

// FuzzServerBytes lets the server write any bytes, cut anywhere, and drains the
// connection anywhere.
func FuzzServerBytes(f *testing.F) {
	for _, seed := range serverSeeds() {
		f.Add(seed, []byte{}, uint(0))
		f.Add(seed, []byte{0}, uint(1))
		f.Add(seed, []byte{8, 3, 23}, uint(2))
	}
	f.Fuzz(func(t *testing.T, server, cuts []byte, drainAt uint) {
		synctest.Test(t, func(t *testing.T) {
			nc := &memConn{}
			c := New(nc, nil, nil)
			defer func() { _ = c.Close() }()
			cut := cutter{cuts: cuts}
			drainedAt := -1
			for written, step := 0, uint(0); written < len(server); step++ {
				if step == drainAt && drainNow(c, testDebug, 0) {
					drainedAt = written
					synctest.Wait()
				}
				written += writeSome(t, c, server[written:], cut.next())
			}
			checkServerBytes(t, c, nc, server, drainedAt)
		})
	})
}

// checkServerBytes compares the connection with the reference. It was drained after
// drainedAt bytes of server, or not at all if that is -1.
func checkServerBytes(t tb, c *Conn, nc *memConn, server []byte, drainedAt int) {
	t.Helper()
	effects, lostAt := serverEffects(server)
	if lost := c.Lost() != nil; lost != (lostAt >= 0) {
		t.Fatalf("lost: %v, want it lost at byte %d (-1: never)", c.Lost(), lostAt)
	}
	at, held := injectedAt(t, nc.out.Bytes(), server, testDebug)
	want := -1
	if drainedAt >= 0 {
		want = firstGap(server, drainedAt)
	}
	if held {
		t.Fatalf("the server's writes were held without a stream")
	}
	if at != want {
		t.Fatalf("drained at byte %d: GOAWAY at byte %d, want byte %d", drainedAt, at, want)
	}
	goAway := drainedAt >= 0
	for _, e := range effects {
		goAway = goAway || e.what == goAwayPassed
	}
	if draining := c.State() != Open; draining != goAway {
		t.Fatalf("state is %v, with a GOAWAY: %t", c.State(), goAway)
	}
}

// FuzzConversation draws legal conversations from the fuzzer's bytes.
func FuzzConversation(f *testing.F) {
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{1, 2, 3, 4, 5, 6, 7, 8, 250}, 50))
	f.Add(bytes.Repeat([]byte{30, 0, 0, 2, 1, 3, 9}, 50))
	f.Fuzz(func(t *testing.T, draws []byte) {
		synctest.Test(t, func(t *testing.T) {
			property(t, func(n int) int {
				if len(draws) == 0 {
					return 0
				}
				d := int(draws[0]) * 257 // n may exceed a byte
				draws = draws[1:]
				return d % n
			})
		})
	})
}

// clientSeeds returns client conversations that are each special in some way.
func clientSeeds() (seeds [][]byte) {
	for _, write := range []func(w *wire){
		func(*wire) {},
		func(w *wire) { w.headers(1, true, true); w.headers(3, true, false); w.headers(3, true, true) },
		func(w *wire) {
			w.headers(5, false, true)
			_ = w.WriteContinuation(5, true, nil)
			w.headers(3, true, true)
		},
		func(w *wire) { w.headers(1, true, false); _ = w.WriteRSTStream(1, http2.ErrCodeCancel) },
		func(w *wire) { w.headers(2, true, false); w.headers(0, true, false); w.headers(1<<31-1, true, false) },
		func(w *wire) { _ = w.WritePing(true, proofData); _ = w.WritePing(false, proofData) },
		func(w *wire) { _ = w.WritePing(true, holdData); _ = w.WritePing(false, holdData) },
		func(w *wire) { w.Write([]byte{0xff, 0xff, 0xff, 1, 4, 0, 0, 0, 1}) },
	} {
		w := newWire()
		w.WriteString(http2.ClientPreface)
		_ = w.WriteSettings()
		write(w)
		seeds = append(seeds, w.take())
	}
	return append(seeds, []byte("GET / HTTP/1.1\r\n\r\n"), []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r."))
}

// serverSeeds returns server conversations that are each special in some way.
func serverSeeds() (seeds [][]byte) {
	for _, write := range []func(w *wire){
		func(*wire) {},
		func(w *wire) {
			w.headers(1, true, false)
			_ = w.WriteData(1, false, []byte("x"))
			w.headers(1, true, true)
		},
		func(w *wire) {
			w.headers(1, false, true)
			_ = w.WriteContinuation(1, false, nil)
			_ = w.WriteContinuation(1, true, nil)
		},
		func(w *wire) { w.headers(1, false, true); w.headers(3, true, true) },
		func(w *wire) { _ = w.WriteRSTStream(1, http2.ErrCodeNo); _ = w.WriteSettingsAck() },
		func(w *wire) {
			_ = w.WriteGoAway(1<<32-1, http2.ErrCodeNo, []byte("max_age"))
			_ = w.WriteGoAway(1, 0, nil)
		},
		func(w *wire) { _ = w.WriteGoAway(maxStreamID, http2.ErrCodeNo, []byte(testDebug)) },
		func(w *wire) { _ = w.WriteRawFrame(0xbe, 0xff, 7, []byte("unknown")) },
		func(w *wire) { w.Write([]byte{0xff, 0xff, 0xff, 0, 1, 0, 0, 0, 1}) },
	} {
		w := newWire()
		_ = w.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 16384})
		write(w)
		seeds = append(seeds, w.take())
	}
	return append(seeds, []byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
}
