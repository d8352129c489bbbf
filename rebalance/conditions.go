package rebalance

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// conditions are what a person should know now.
type conditions struct {
	log *slog.Logger

	mu      sync.Mutex
	all     map[string]*heldCondition
	news    []func(*slog.Logger) // not logged yet
	logging bool
}

// heldCondition shows only after it has lasted: what comes and goes with every rollout
// is no news.
type heldCondition struct {
	Condition
	hold  time.Duration
	shown bool
}

// set begins, changes or (with an empty text) ends a condition. It shows once it has
// held for the given time.
func (c *conditions) set(code string, sev Severity, hold time.Duration, text string) {
	c.mu.Lock()
	defer c.unlockAndLog()
	if text == "" {
		c.clearLocked(code)
		return
	}
	if c.all == nil {
		c.all = make(map[string]*heldCondition)
	}
	h := c.all[code]
	if h == nil {
		h = &heldCondition{Condition: Condition{Code: code, Since: time.Now()}, hold: hold}
		c.all[code] = h
	}
	h.Severity, h.Text = sev, text
	c.showLocked(h)
}

func (c *conditions) clearLocked(code string) {
	h := c.all[code]
	if h == nil {
		return
	}
	delete(c.all, code)
	if h.shown {
		after := time.Since(h.Since).Round(time.Millisecond)
		c.news = append(c.news, func(l *slog.Logger) { l.Info("condition cleared", "code", code, "after", after) })
	}
}

func (c *conditions) showLocked(h *heldCondition) {
	if h.shown || time.Since(h.Since) < h.hold {
		return
	}
	h.shown = true
	level := slog.LevelInfo
	switch h.Severity {
	case Warning:
		level = slog.LevelWarn
	case Error:
		level = slog.LevelError
	}
	text := h.Text
	c.news = append(c.news, func(l *slog.Logger) {
		l.Log(context.Background(), level, "condition", "code", h.Code, "text", text)
	})
}

// unlockAndLog logs in order, and without the lock: a handler may be slow, or ask for
// the conditions itself.
func (c *conditions) unlockAndLog() {
	defer c.mu.Unlock()
	if c.logging {
		return // and will see what is new
	}
	c.logging = true
	for len(c.news) > 0 {
		first := c.news[0]
		c.news = c.news[1:]
		c.logUnlocked(first)
	}
	c.logging = false
}

func (c *conditions) logUnlocked(line func(*slog.Logger)) {
	c.mu.Unlock()
	defer c.mu.Lock()
	line(c.log)
}

// list returns the conditions that show, the worst and oldest first.
func (c *conditions) list() []Condition {
	c.mu.Lock()
	defer c.unlockAndLog()
	out := []Condition{}
	for _, h := range c.all {
		c.showLocked(h)
		if h.shown {
			out = append(out, h.Condition)
		}
	}
	rank := map[Severity]int{Error: 0, Warning: 1, Info: 2}
	slices.SortFunc(out, func(a, b Condition) int {
		return cmp.Or(cmp.Compare(rank[a.Severity], rank[b.Severity]), a.Since.Compare(b.Since), cmp.Compare(a.Code, b.Code))
	})
	return out
}

// SetCondition shows a condition of the caller's, such as a configuration file that
// cannot be read, under a code that is the caller's own; an empty text clears it.
func (b *Balancer) SetCondition(code string, sev Severity, text string) {
	b.conds.set(code, sev, 0, text)
}
