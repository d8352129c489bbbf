package h2conn

import (
	"sync"
	"testing"
	"testing/synctest"
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
