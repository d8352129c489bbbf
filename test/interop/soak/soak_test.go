package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fake runs slices that only take time. Each row makes its own number of calls per second.
type fake struct {
	rates map[string]int
	// broken are the rows that break a limit.
	broken map[string]string

	mu            sync.Mutex
	running, most int
	// aloneWith is set if another row ran beside one that must be alone.
	aloneWith string
	alone     bool
}

func (f *fake) slice(ctx context.Context, r row, length time.Duration) slice {
	f.enter(r)
	defer f.leave(r)
	select {
	case <-time.After(length + time.Second): // what a row needs besides its calls
	case <-ctx.Done():
		return slice{Broken: "killed"}
	}
	return slice{Calls: f.rates[r.Name] * int(length/time.Second), GoAways: 3, Version: "1", Broken: f.broken[r.Name]}
}

func (f *fake) enter(r row) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running++
	f.most = max(f.most, f.running)
	f.alone = f.alone || r.Alone
	if f.alone && f.running > 1 {
		f.aloneWith = r.Name
	}
}

func (f *fake) leave(r row) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running--
	if r.Alone {
		f.alone = false
	}
}

// newSoak returns a soak of the fake's rows, whose state is not written.
func newSoak(f *fake, goal int) *soak {
	st := &state{}
	st.begin("first")
	s := &soak{
		state: st, goal: goal, parallel: 3, length: time.Minute, slice: f.slice,
		save: func() error { return nil }, out: &bytes.Buffer{},
	}
	for name := range f.rates {
		s.rows = append(s.rows, row{Name: name, Alone: name == "alone"})
	}
	slices.SortFunc(s.rows, func(a, b row) int { return strings.Compare(a.Name, b.Name) })
	return s
}

func fiveRows() *fake {
	return &fake{rates: map[string]int{"alone": 100, "fast": 2000, "faster": 3000, "slow": 50, "slower": 5}}
}

func TestSlowRowsGetAsMuchTimeAsFastOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fiveRows()
		s := newSoak(f, 5_000_000)
		if err := s.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.state.sum().Calls; got < 5_000_000 || got > 5_500_000 {
			t.Errorf("got %d calls, want 5,000,000 and at most a round more", got)
		}
		for name, tally := range s.state.Rows {
			if first := s.state.Rows["fast"].Seconds; max(tally.Seconds, first)-min(tally.Seconds, first) > 60 {
				t.Errorf("%s called for %d s and fast for %d s, want one slice apart at most", name, tally.Seconds, first)
			}
		}
		if f.most != 3 {
			t.Errorf("got up to %d rows at the same time, want 3", f.most)
		}
		if f.aloneWith != "" {
			t.Errorf("%s ran beside a row that must be alone", f.aloneWith)
		}
	})
}

func TestStoppedSoakGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fiveRows()
		s := newSoak(f, 2_000_000)
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
		defer cancel()
		if err := s.run(ctx); err != nil {
			t.Fatal(err)
		}
		stopped := s.state.sum()
		if stopped.Calls == 0 || stopped.Broken != 0 || f.running != 0 {
			t.Errorf("got %d calls, %d broken slices and %d running ones, want whole slices only", stopped.Calls, stopped.Broken, f.running)
		}
		s.state.begin("second")
		if err := s.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprint(s.state.Commits[0].ID, s.state.Commits[0].Calls, s.state.Commits[1].ID)
		if want := fmt.Sprint("first", stopped.Calls, "second"); got != want {
			t.Errorf("got commits %s, want %s", got, want)
		}
		if all := s.state.sum().Calls; all < 2_000_000 || s.state.Commits[0].Calls+s.state.Commits[1].Calls != all {
			t.Errorf("got %d calls in all, want 2,000,000 or more, the sum of both commits", all)
		}
	})
}

func TestOneRowRunsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{rates: map[string]int{"fast": 2000}}
		s := newSoak(f, 1_000_000)
		if err := s.run(t.Context()); err != nil || f.most != 1 {
			t.Errorf("got error %v and %d slices at the same time, want none and 1", err, f.most)
		}
	})
}

func TestBrokenRowsStayInTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fiveRows()
		f.broken = map[string]string{"slow": "2 calls failed", "slower": "exit status 2"}
		s := newSoak(f, 10_000_000)
		if err := s.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		slow := s.state.Rows["slow"]
		if slow.Broken != slow.Seconds/60 || s.state.broken() < 2*maxBreaches {
			t.Errorf("got %d broken slices of %d, want all", slow.Broken, slow.Seconds/60)
		}
		if len(slow.Breaches) != maxBreaches || slow.Breaches[0].Text != "2 calls failed" || slow.Breaches[0].Commit != "first" {
			t.Errorf("got %d breaches, the first %+v, want %d", len(slow.Breaches), slow.Breaches[0], maxBreaches)
		}
		if out := s.out.(*bytes.Buffer).String(); !strings.Contains(out, "slow broke a limit: 2 calls failed\n") {
			t.Errorf("the output does not name the broken limit:\n%.500s", out)
		}
	})
}

func TestProgressLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSoak(&fake{rates: map[string]int{"fast": 2000}}, 240_000)
		if err := s.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(s.out.(*bytes.Buffer).String(), "\n")
		want := "120,000 of 240,000 calls (50.0 %), 1967/s, 0 failed, 0 broken slices, 1m1s left | fast: 120,000 calls, 0 failed"
		if !strings.HasSuffix(first, want) {
			t.Errorf("got  %s\nwant %s", first, want)
		}
	})
}

func TestSoakEndsIfItCannotSave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fiveRows()
		s := newSoak(f, 10_000_000)
		full := errors.New("no space left")
		s.save = func() error { return full }
		if err := s.run(t.Context()); !errors.Is(err, full) || f.running != 0 {
			t.Errorf("got %v and %d running slices, want %v and none", err, f.running, full)
		}
	})
}
