package plan

import "time"

// pacer spreads one round's GOAWAYs.
type pacer struct {
	next, gap time.Duration

	// The share per minute.
	minute    time.Duration
	used      int
	exhausted bool
}

// catchUp bounds what a loop that was held up (a suspended machine) may make up for
// at once.
const catchUp = 250 * time.Millisecond

// start spreads n from now on: over Spread, or longer where MaxPerSecond says so.
func (c *pacer) start(now time.Duration, n int, p *Policy) {
	c.next = now
	c.gap = roundLength(n, p) / time.Duration(max(n, 1))
}

// roundLength is how long n GOAWAYs take.
func roundLength(n int, p *Policy) time.Duration {
	byRate := time.Duration(0)
	if p.MaxPerSecond > 0 {
		byRate = time.Duration(float64(n) / p.MaxPerSecond * float64(time.Second))
	}
	return max(p.Spread, byRate)
}

func (c *pacer) length(n int) time.Duration { return c.gap * time.Duration(n) }

// take returns how many of n may go now.
func (c *pacer) take(v *View, p *Policy, n int) int {
	if v.Now-c.minute >= time.Minute {
		c.minute, c.used = v.Now, 0
	}
	budget := n
	if p.MaxFractionPerMinute > 0 {
		budget = max(1, int(p.MaxFractionPerMinute*float64(len(v.Conns)))) - c.used
	}
	c.next = max(c.next, v.Now-catchUp)
	taken := 0
	for taken < n && taken < budget && c.next <= v.Now {
		taken++
		c.next += c.gap
	}
	c.used += taken
	c.exhausted = taken < n && taken >= budget
	if c.exhausted {
		c.next = c.minute + time.Minute
	}
	return taken
}

func (c *pacer) why() string {
	if c.exhausted {
		return "; out of this minute's budget (rebalance.maxFractionPerMinute)"
	}
	return ""
}
