package h2conn

import (
	"flag"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// conversation is a Conn between a strict client and a server like grpc-go.
type conversation struct {
	l      *link
	c      *Conn
	rec    *recorder
	client *refClient
	server *refServer

	half      bool
	fault     bool // the link was made to fail, or an end of it has closed
	drained   bool
	drainedAt time.Time
	grace     time.Duration
	log       []string
	began     time.Time
	ended     *transcript // nil until then
}

func newConversation(half bool, room, piece int) *conversation {
	v := &conversation{l: newLink(room), half: half, rec: newRecorder(), began: time.Now()}
	cfg := &Config{Linger: testLinger}
	if half {
		v.c = New(halfLink{v.l}, cfg, v.rec)
	} else {
		v.c = New(v.l, cfg, v.rec)
	}
	v.client = newRefClient(v.l)
	v.server = newRefServer(v.c, piece)
	return v
}

func (v *conversation) note(format string, args ...any) {
	v.log = append(v.log, fmt.Sprintf("%8v ", time.Since(v.began))+fmt.Sprintf(format, args...))
	synctest.Wait()
}

// actions are what may happen at any moment.
func (v *conversation) actions() map[string]func(*rapid.T) {
	small := func(t *rapid.T, what string, most int) int { return rapid.IntRange(0, most).Draw(t, what) }
	return map[string]func(*rapid.T){
		"": func(*rapid.T) { synctest.Wait() },
		"the client opens a stream": func(*rapid.T) {
			v.client.open()
			v.note("client opens %d", v.client.nextID-2)
		},
		"the client sends HEADERS": func(t *rapid.T) {
			v.client.send(1 + small(t, "streams", 2))
			v.note("client has sent %v", v.client.sent)
		},
		"the client reads": func(t *rapid.T) {
			v.client.read(rapid.SampledFrom([]int{1, 10, 100, 1 << 20}).Draw(t, "bytes"))
			out, read := v.l.progress()
			v.note("client has read %d of %d bytes, GOAWAY: %t", read, out, v.client.goAway)
		},
		"the client's buffer changes": func(t *rapid.T) {
			v.l.resize(rapid.SampledFrom([]int{0, 1, 5, 12, 17, 1 << 20}).Draw(t, "room"))
			v.note("client's buffer changes")
		},
		"the client answers PINGs": func(t *rapid.T) {
			v.client.answer(1 + small(t, "PINGs", 2))
			v.note("client answers, %d PINGs wait", len(v.client.acks))
		},
		"the client pings": func(*rapid.T) {
			v.client.ping()
			v.note("client pings")
		},
		"the client cancels": func(t *rapid.T) {
			if n := len(v.client.sent); n > 0 {
				v.client.cancel(small(t, "stream", n-1))
				v.note("client has canceled %v", v.client.reset)
			}
		},
		"the server answers": func(t *rapid.T) {
			v.server.answer(small(t, "stream", 3), rapid.Bool().Draw(t, "end"))
			v.note("server has open %v", v.server.inFlight())
		},
		"the connection is drained": func(t *rapid.T) {
			v.drain(rapid.SampledFrom([]time.Duration{0, 0, 0, 2 * time.Second, time.Minute}).Draw(t, "grace"))
		},
		"time passes": func(t *rapid.T) { v.pass(rapid.SampledFrom(pauses).Draw(t, "pause")) },
	}
}

// pauses are around the times that matter.
var pauses = []time.Duration{
	time.Millisecond, wantHold - 1, wantHold, testLinger - 1, testLinger, testLinger + time.Millisecond, 5 * time.Second, time.Minute,
}

// faults are what may happen in a few conversations.
func (v *conversation) faults() map[string]func(*rapid.T) {
	fail := func(what string, point func(l *link) (at *int, from int)) func(*rapid.T) {
		return func(t *rapid.T) {
			v.fault = true
			at := v.l.fail(point, rapid.IntRange(1, 80).Draw(t, "bytes from here"))
			v.note("%s at byte %d", what, at)
		}
	}
	return map[string]func(*rapid.T){
		"reset while reading":   fail("reset while reading", func(l *link) (*int, int) { return &l.resetIn, l.inRead }),
		"reset while writing":   fail("reset while writing", func(l *link) (*int, int) { return &l.resetOut, len(l.out) }),
		"a write fails in part": fail("a write fails", func(l *link) (*int, int) { return &l.deadlineAt, len(l.out) }),
		"the client closes": func(*rapid.T) {
			v.fault = true
			v.client.l.hangUp()
			v.note("client closes")
		},
		"the server drains": func(t *rapid.T) {
			v.server.goAway(rapid.Bool().Draw(t, "final"))
			v.note("server sends a GOAWAY")
		},
		"Drain comes in the middle of the server's GOAWAY": func(t *rapid.T) {
			v.l.resize(rapid.IntRange(1, 24).Draw(t, "room"))
			v.server.goAway(rapid.Bool().Draw(t, "final"))
			v.note("server sends a part of a GOAWAY")
			v.drain(0)
		},
	}
}

func (v *conversation) drain(grace time.Duration) {
	if flush := v.c.Drain(testDebug, grace); flush != nil {
		go flush()
		v.drained, v.drainedAt, v.grace = true, time.Now(), grace
	}
	v.note("Drain, grace %v: %v", grace, v.c.State())
}

func (v *conversation) pass(d time.Duration) {
	time.Sleep(d)
	v.note("%v later: %v", d, v.c.State())
}

// finish lets both sides do what they still have to, and waits until a drained connection
// must have been closed.
func (v *conversation) finish() {
	v.l.resize(1 << 30)
	for range 10 {
		v.client.send(len(v.client.waiting))
		v.client.read(1 << 20)
		synctest.Wait()
		v.client.answer(len(v.client.acks))
		synctest.Wait()
		for len(v.server.inFlight()) > 0 {
			v.server.answer(0, true)
		}
		synctest.Wait()
		time.Sleep(wantHold)
	}
	v.note("all is answered: %v", v.c.State())
	for range 10 {
		time.Sleep(5 * time.Second)
		synctest.Wait()
		v.client.read(1 << 20)
		v.client.answer(len(v.client.acks))
	}
	v.note("a while later: %v", v.c.State())
}

// end ends the conversation and returns what has become of it.
func (v *conversation) end() *transcript {
	if v.ended != nil {
		return v.ended
	}
	state, last := v.c.State(), time.Now()
	v.l.mu.Lock()
	closed, shut, full := v.l.closedAt, v.l.halfAt, v.l.closedFull
	v.l.mu.Unlock()
	v.l.hangUp()
	synctest.Wait()
	_ = v.c.Close()
	v.server.stop()
	v.server.wg.Wait()
	v.client.read(1 << 20)
	how := <-v.rec.how
	frames, rest, _ := parseRaw(v.l.out)
	v.ended = &transcript{
		out: frames, rest: rest.end - rest.start, half: v.half, full: full, how: how,
		sent: v.client.sent, reset: v.client.reset, executed: v.server.executed, pings: v.client.pings,
		serverIn: v.server.in, serverOut: v.server.out, clientSent: v.l.in,
		serverLeft: v.server.drained, ended: v.server.ended, acked: v.server.acked, proofs: v.server.proofs,
		drained: v.drained, grace: v.grace, drainedAt: v.drainedAt, shut: shut, last: last, closed: closed,
	}
	graceOver := v.grace > 0 && !closed.IsZero() && !closed.Before(v.drainedAt.Add(v.grace))
	v.ended.broke = v.fault || graceOver || state == Closed && how == ByServer
	return v.ended
}

// The time of a bubble passes quickly, and rapid limits by it how long it makes a failing
// conversation smaller.
func init() {
	if err := flag.Set("rapid.shrinktime", "100000h"); err != nil {
		panic(err)
	}
}

// converse has one conversation and checks all rules. It must run in a bubble. It returns
// how the connection was closed.
func converse(t *rapid.T) How {
	v := newConversation(rapid.Bool().Draw(t, "half-close"),
		rapid.SampledFrom([]int{1 << 20, 1 << 20, 64, 1}).Draw(t, "room"),
		rapid.SampledFrom([]int{1 << 20, 100, 7, 1}).Draw(t, "longest write"))
	defer func() { v.end() }() // if rapid gives up in the middle
	if rapid.IntRange(0, 9).Draw(t, "drained at once from 9") == 9 {
		v.drain(0)
	}
	v.server.begin()
	actions := v.actions()
	if rapid.IntRange(0, 2).Draw(t, "faults from 2") == 2 {
		maps.Copy(actions, v.faults())
	}
	t.Repeat(actions)
	v.finish()
	tr := v.end()
	for _, r := range rules {
		if err := r.check(tr); err != nil {
			t.Fatalf("%s: %s: %v\n%s\nthe client got %v", r.section, r.text, err, strings.Join(v.log, "\n"), tr.out)
		}
	}
	return tr.how
}

// Conversations of strict clients with servers like grpc-go keep to every rule, however they
// are drained, and whatever happens to them. -rapid.checks sets how many there are in each
// of the rounds; about a thousand fit into one, since rapid takes no more than a day of the
// bubble's time.
func TestConversations(t *testing.T) {
	seen := map[How]int{}
	for range 5 {
		synctest.Test(t, func(t *testing.T) {
			// This hides the Deadline method, which rapid would call and a bubble forbids.
			rapid.Check(struct{ rapid.TB }{t}, func(t *rapid.T) { seen[converse(t)]++ })
		})
	}
	for _, how := range []How{Clean, ByClient, ByServer, Forced} {
		if seen[how] == 0 {
			t.Errorf("no connection was closed as %v; want some of each: %v", how, seen)
		}
	}
}

// FuzzRules draws the conversations from the fuzzer's bytes.
func FuzzRules(f *testing.F) {
	f.Fuzz(func(t *testing.T, draws []byte) {
		synctest.Test(t, func(t *testing.T) {
			rapid.MakeFuzz(func(t *rapid.T) { converse(t) })(t, draws)
		})
	})
}
