package h2conn

import (
	"sync"
	"testing"
	"testing/synctest"

	"golang.org/x/net/http2"
)

// lockingObserver takes a lock that is held around Drain, and calls the Conn back.
type lockingObserver struct {
	recorder
	callerMu sync.Mutex
	c        *Conn
}

func (o *lockingObserver) OnGoAway(ours bool) {
	o.callBack()
	o.recorder.OnGoAway(ours)
}

func (o *lockingObserver) OnLost(err error) {
	o.callBack()
	o.recorder.OnLost(err)
}

func (o *lockingObserver) OnClose(h How) {
	o.callBack()
	o.recorder.OnClose(h)
}

func (o *lockingObserver) callBack() {
	o.callerMu.Lock()
	defer o.callerMu.Unlock()
	_, _ = o.c.Streams()
	_ = o.c.State()
	_ = drainNow(o.c, "again", 0)
}

func TestObserverMayLockAndCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &lockingObserver{recorder: *newRecorder()}
		o.c = New(&memConn{}, nil, o)
		w := newWire()
		_ = w.WriteSettings()
		writeSome(t, o.c, w.take(), 100)
		o.callerMu.Lock()
		drainNow(o.c, "bye", 0)
		o.want(t) // Drain itself calls nothing
		o.callerMu.Unlock()
		synctest.Wait()
		o.want(t, "goaway ours=true")
		_ = w.WriteContinuation(1, true, nil) // of no header block
		writeSome(t, o.c, w.take(), 100)
		_ = o.c.Close()
		o.want(t, "goaway ours=true", "lost: "+ErrFrame.Error(), "closed: server")
	})
}

// streamsObserver counts the calls of OnStreams.
type streamsObserver struct {
	recorder
	c     *Conn
	calls int
}

// OnStreams may call the Conn back, and let it rest again.
func (o *streamsObserver) OnStreams() {
	o.calls++
	o.c.Streams()
}

// Each way in which the number of streams may change wakes a connection that rests, once.
func TestRestEndsWithTheFirstNews(t *testing.T) {
	nc := &memConn{}
	o := &streamsObserver{recorder: *newRecorder()}
	o.c = New(nc, nil, o)
	w, buf := newWire(), make([]byte, 1<<10)
	client := func(write func()) {
		write()
		nc.in = w.take()
		readSome(t, o.c, buf, nc.in)
	}
	server := func(write func()) {
		write()
		writeSome(t, o.c, w.take(), 1<<10)
	}
	client(func() { w.WriteString(http2.ClientPreface); _ = w.WriteSettings() })
	server(func() { _ = w.WriteSettings() })
	if o.c.Rest(1, 1) || !o.c.Rest(0, 0) {
		t.Fatal("a connection may rest only with the streams that it has")
	}
	want := 0
	for _, news := range []struct {
		what string
		pass func()
	}{
		{"a stream opens", func() {
			client(func() { w.headers(1, true, true); w.headers(3, true, true); w.headers(5, true, true) })
		}},
		{"the client resets a stream", func() { client(func() { _ = w.WriteRSTStream(1, 0) }) }},
		{"the server ends a stream", func() { server(func() { w.headers(3, true, true) }) }},
		{"the server refuses a stream", func() { server(func() { _ = w.WriteGoAway(3, 0, nil) }) }},
	} {
		client(func() { _ = w.WriteData(5, false, []byte("quiet")) })
		server(func() { _ = w.WriteData(5, false, []byte("quiet")) })
		if o.calls != want {
			t.Errorf("before %s: OnStreams was called %d times, want %d", news.what, o.calls, want)
		}
		want++
		news.pass()
		if o.calls != want {
			t.Errorf("%s: OnStreams was called %d times, want %d", news.what, o.calls, want)
		}
		if open, opened := o.c.Streams(); !o.c.Rest(open, opened) {
			t.Errorf("%s: the connection does not rest with %d and %d streams", news.what, open, opened)
		}
	}
	_ = o.c.Close()
	if o.c.Rest(0, 3) {
		t.Error("a closed connection rests")
	}
	// An observer without OnStreams is never called, and a Conn may have none.
	for _, obs := range []Observer{newRecorder(), nil} {
		o.c, nc.closed = New(nc, nil, obs), false
		client(func() { w.WriteString(http2.ClientPreface); _ = w.WriteSettings() })
		o.c.Rest(0, 0)
		client(func() { w.headers(1, true, true) })
	}
}
