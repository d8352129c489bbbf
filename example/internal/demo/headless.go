package demo

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// headless runs the timeline and prints its events, line by line.
func headless(ctx context.Context, t *timeline, url string, w io.Writer) error {
	t.board.subscribe(func(e event) { fmt.Fprintln(w, e) })
	t.announce(url)
	done := make(chan error, 1)
	go func() { done <- t.run(ctx) }()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			s := t.board.snapshot()
			for i := range s.Columns {
				fmt.Fprintln(w, event{s.Seconds, s.Columns[i].line()})
			}
		}
	}
}

// progressEvery is how often headless prints the state of each fleet.
const progressEvery = 5 * time.Second

// line describes the state of one fleet.
func (c *columnView) line() string {
	pods := make([]string, len(c.Pods))
	for i, p := range c.Pods {
		pods[i] = fmt.Sprintf("%3d", p.PerSecond)
	}
	return fmt.Sprintf("  %-20s calls/s %-28s GOAWAYs %-4d connections opened %-4d failed RPCs %d",
		c.Title, strings.Join(pods, " "), c.GoAways, c.Opened, c.Failures)
}

// announce logs the ports and the address of the page.
func (t *timeline) announce(url string) {
	t.board.logf("%s", describePorts(t.columns[0].ports))
	if url != "" {
		t.board.logf("the live page is at %s", url)
	}
}
