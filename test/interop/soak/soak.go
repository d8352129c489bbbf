package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

// soak runs slices of rows until they have made all calls. Its loop alone touches the state.
type soak struct {
	state    *state
	rows     []row
	goal     int
	parallel int
	length   time.Duration
	// slice runs one row. It returns at once when ctx is done.
	slice func(ctx context.Context, r row, length time.Duration) slice
	save  func() error
	out   io.Writer

	running map[string]row
	ended   chan done
	// began and before are the time and the calls with which this run began, lap the time up to
	// which the state has counted.
	began, lap time.Time
	before     int
}

// done is a slice that has ended.
type done struct {
	row   row
	slice slice
}

// run returns when all calls were made, when ctx is done, or when the state cannot be saved.
// The state does not contain slices that ctx has cut off.
func (s *soak) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.running, s.ended = map[string]row{}, make(chan done)
	s.began, s.lap, s.before = time.Now(), time.Now(), s.state.sum().Calls
	var err error
	for err == nil && ctx.Err() == nil && s.state.sum().Calls < s.goal {
		if r, ok := s.next(); ok {
			s.start(ctx, r)
			continue
		}
		err = s.collect(ctx)
	}
	if err != nil {
		cancel()
	}
	for len(s.running) > 0 {
		if e := s.collect(ctx); err == nil {
			err = e
		}
	}
	return err
}

// next returns the row that has called for the shortest time, if it can start now. A row that must
// be alone waits until no other runs, and no other starts before it.
func (s *soak) next() (least row, ok bool) {
	found := false
	for _, r := range s.rows {
		if s.running[r.Name].Alone {
			return row{}, false
		}
		if _, busy := s.running[r.Name]; busy {
			continue
		}
		if !found || s.state.seconds(r.Name) < s.state.seconds(least.Name) {
			least, found = r, true
		}
	}
	free := len(s.running) < s.parallel && !least.Alone || len(s.running) == 0
	return least, found && free
}

func (s *soak) start(ctx context.Context, r row) {
	s.running[r.Name] = r
	go func() { s.ended <- done{r, s.slice(ctx, r, s.length)} }()
}

// collect waits for the end of a slice and counts it.
func (s *soak) collect(ctx context.Context) error {
	d := <-s.ended
	delete(s.running, d.row.Name)
	select {
	case <-ctx.Done():
		return nil // the slice was cut off
	default:
	}
	s.state.add(d.row, s.length, d.slice)
	s.state.Seconds += time.Since(s.lap).Seconds()
	s.lap = time.Now()
	s.show(d)
	return s.save()
}

// show prints how far the soak is, and what the slice did.
func (s *soak) show(d done) {
	all := s.state.sum()
	rate := float64(all.Calls-s.before) / time.Since(s.began).Seconds()
	left := "?"
	if rate > 0 {
		seconds := float64(max(s.goal-all.Calls, 0)) / rate
		left = (time.Duration(seconds) * time.Second).String()
	}
	fmt.Fprintf(s.out, "%s  %s of %s calls (%.1f %%), %.0f/s, %s failed, %d broken slices, %s left | %s: %s calls, %d failed\n",
		time.Now().Format(time.TimeOnly), grouped(all.Calls), grouped(s.goal), 100*float64(all.Calls)/float64(s.goal),
		rate, grouped(all.Failed), all.Broken, left, d.row.Name, grouped(d.slice.Calls), d.slice.Failed)
	if d.slice.Broken != "" {
		fmt.Fprintf(s.out, "  %s broke a limit: %s\n", d.row.Name, d.slice.Broken)
	}
}
