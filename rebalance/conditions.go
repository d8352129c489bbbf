package rebalance

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// conditions holds the problems that a person should know of now.
type conditions struct {
	log *slog.Logger

	mu      sync.Mutex // guards what follows
	held    map[string]*heldCondition
	lines   []func(*slog.Logger) // not logged yet
	logging bool
}

// heldCondition is a condition that holds. It is shown once it has lasted long enough,
// because what comes and goes with every rollout is no news.
type heldCondition struct {
	Condition

	after time.Duration
	shown bool
}

// set begins, changes or, with an empty text, ends a condition of the table.
func (c *conditions) set(code string, text string) {
	info := infoOf[code]
	c.setAs(code, info.Severity, info.After, text)
}

// setAs is set for a condition that need not be in the table.
func (c *conditions) setAs(code string, sev Severity, after time.Duration, text string) {
	c.mu.Lock()
	defer c.unlockAndLog()
	if text == "" {
		c.clearLocked(code)
		return
	}
	if c.held == nil {
		c.held = make(map[string]*heldCondition)
	}
	h := c.held[code]
	if h == nil {
		h = &heldCondition{Condition: Condition{Code: code, Since: time.Now()}, after: after}
		c.held[code] = h
	}
	h.Severity, h.Text = sev, text
	c.showLocked(h)
}

// holds reports whether a condition holds, shown or not.
func (c *conditions) holds(code string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held[code] != nil
}

func (c *conditions) clearLocked(code string) {
	h := c.held[code]
	if h == nil {
		return
	}
	delete(c.held, code)
	if h.shown {
		lasted := time.Since(h.Since).Round(time.Millisecond)
		c.lines = append(c.lines, func(l *slog.Logger) { l.Info("condition cleared", "code", code, "after", lasted) })
	}
}

// showLocked shows a condition that has held long enough, unless its cause is shown.
func (c *conditions) showLocked(h *heldCondition) {
	if h.shown || time.Since(h.Since) < h.after || c.explainedLocked(h.Code) {
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
	code, text := h.Code, h.Text
	c.lines = append(c.lines, func(l *slog.Logger) {
		l.Log(context.Background(), level, "condition", "code", code, "text", text)
	})
}

// explainedLocked reports whether a cause of this condition is shown.
func (c *conditions) explainedLocked(code string) bool {
	return slices.ContainsFunc(infoOf[code].Causes, func(cause string) bool {
		h := c.held[cause]
		return h != nil && h.shown
	})
}

// unlockAndLog logs in order and without the lock, since a log handler may be slow or read
// the conditions itself.
func (c *conditions) unlockAndLog() {
	defer c.mu.Unlock()
	if c.logging {
		return // that call logs the new lines, too
	}
	c.logging = true
	for len(c.lines) > 0 {
		first := c.lines[0]
		c.lines = c.lines[1:]
		c.logUnlocked(first)
	}
	c.logging = false
}

func (c *conditions) logUnlocked(line func(*slog.Logger)) {
	c.mu.Unlock()
	defer c.mu.Lock()
	line(c.log)
}

// list returns the conditions that are shown, the worst and oldest first.
func (c *conditions) list() []Condition {
	c.mu.Lock()
	defer c.unlockAndLog()
	out := []Condition{}
	for _, h := range c.held {
		c.showLocked(h)
	}
	for _, h := range c.held {
		if h.shown && !c.explainedLocked(h.Code) {
			out = append(out, h.Condition)
		}
	}
	rank := map[Severity]int{Error: 0, Warning: 1, Info: 2}
	slices.SortFunc(out, func(a, b Condition) int {
		return cmp.Or(cmp.Compare(rank[a.Severity], rank[b.Severity]), a.Since.Compare(b.Since), cmp.Compare(a.Code, b.Code))
	})
	return out
}

// SetCondition shows a condition of the caller's own, such as a file that cannot be read.
// code names it. An empty text clears the condition. A code of [ConditionTable] is the Balancer's
// own: the call is ignored, and logged.
func (b *Balancer) SetCondition(code string, sev Severity, text string) {
	if _, own := infoOf[code]; own {
		b.opts.log.Warn("SetCondition is ignored: the code is one of the Balancer's own", "code", code, "text", text)
		return
	}
	b.conds.setAs(code, sev, 0, text)
}
