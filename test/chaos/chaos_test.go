package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The short form of the command: whatever 30 seconds bring (3 seconds with -short).
func TestChaos(t *testing.T) {
	o := options{calls: 10_000_000, time: 30 * time.Second, seed: rand.Uint64(), every: 5 * time.Second}
	if testing.Short() {
		o.time = 3 * time.Second
	}
	t.Logf("-seed %d", o.seed)
	ctx, cancel := context.WithTimeout(t.Context(), o.time)
	defer cancel()
	rep, err := play(ctx, o, os.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	rep.print(os.Stdout)
	for _, b := range rep.broken() {
		t.Error(b)
	}
}

// Only what a client wanted itself, or a reset of the RPC's own connection, explains a
// failure.
func TestOutcomeOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ahead, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		late, cancelLate := context.WithTimeout(t.Context(), time.Second)
		defer cancelLate()
		ended, cancelEnded := context.WithCancel(t.Context())
		cancelEnded()
		time.Sleep(time.Minute)
		unavailable, tooLate := status.Error(codes.Unavailable, "reset"), status.Error(codes.DeadlineExceeded, "late")
		gone := status.Error(codes.Canceled, "gone")
		for _, c := range []struct {
			err   error
			own   context.Context
			reset bool
			want  outcome
		}{
			{nil, nil, false, answered},
			{nil, late, true, answered},
			{fmt.Errorf("%w: 3 answers, want 4", errWrong), nil, true, wrong},
			{tooLate, late, false, timedOut},
			{tooLate, late, true, timedOut},
			{gone, ended, false, canceled},
			{tooLate, ahead, false, lost},
			{tooLate, nil, false, lost},
			{gone, nil, false, lost},
			{unavailable, late, false, lost},
			{unavailable, ended, false, lost},
			{unavailable, nil, false, lost},
			{unavailable, nil, true, broken},
			{unavailable, ahead, true, broken},
			{errors.New("any"), nil, false, lost},
		} {
			if got := outcomeOf(c.err, c.own, c.reset); got != c.want {
				t.Errorf("%v with its own context %v, reset %t: got %d, want %d", c.err, c.own, c.reset, got, c.want)
			}
		}
	})
}

func TestLedger(t *testing.T) {
	l := newLedger(130)
	for _, id := range []uint64{0, 63, 64, 129, 64, 64} {
		if !l.execute(id) {
			t.Errorf("%d is no ID", id)
		}
	}
	if l.execute(1 << 40) {
		t.Error("1<<40 is an ID")
	}
	if executed, twice := l.counts(); executed != 4 || twice != 1 || !l.executed(129) || l.executed(128) {
		t.Errorf("%d executed, %d more than once; want 4, 1", executed, twice)
	}
}

func TestOrdersCanBeParsed(t *testing.T) {
	for _, want := range []order{{}, {drain: true}, {answers: 3, size: 1 << 14, wait: 7 * time.Millisecond}} {
		if got, err := parseOrder(want.String()); got != want || err != nil {
			t.Errorf("%+v was parsed as %+v, %v", want, got, err)
		}
	}
}

// Each limit is named when it is exceeded.
func TestReportNamesLimits(t *testing.T) {
	bad := &report{
		took: time.Minute, tally: newTally(), twice: 1, left: 2,
		leaked: errors.New("one goroutine"), ended: errors.New("Serve"),
	}
	bad.tally.counts[lost].Store(3)
	bad.tally.counts[wrong].Store(4)
	got := strings.Join(bad.broken(), "\n")
	for _, want := range []string{
		"3 RPCs were lost", "4 RPCs ended well with a wrong answer", "1 RPCs were executed more than once", "2 connections are left",
		"one goroutine", "ended with Serve", "0 GOAWAYs in 60 s", "0 resets broke 0 RPCs", "no RPC missed", "no RPC was canceled",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	good := &report{tally: newTally(), census: census{goaways: 1}, resets: 1}
	for _, o := range []outcome{timedOut, canceled, broken} {
		good.tally.counts[o].Store(1)
	}
	if all := good.broken(); len(all) > 0 {
		t.Error(all)
	}
}
