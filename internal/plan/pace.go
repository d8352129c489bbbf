package plan

import "time"

// pacer spreads one round's GOAWAYs.
type pacer struct {
	next, gap time.Duration

	// The share per minute, over any 60 s.
	last      [minute + 1]second
	exhausted bool

	// The connections as they were over about the last minute: what those that leave one
	// pod are short in its average stands in that of another, so that all pods' shares
	// are the share of all connections.
	mean float64
	at   time.Duration
}

// minute is in seconds.
const minute = 60

// second is what happened in one second of the last minute.
type second struct {
	at   time.Duration // in whole seconds; 0: never
	sent int32
}

// catchUp bounds what a loop that was held up (a suspended machine) may make up for
// at once.
const catchUp = 250 * time.Millisecond

// lookCost is how long to rest for each connection that a look walks over: about ten times as
// long as that takes. 10,000 connections: 10 ms.
const lookCost = time.Microsecond

// observe takes note of the connections.
func (c *pacer) observe(v *View) {
	serving := float64(max(v.Serving, len(v.Conns)))
	if c.at == 0 {
		c.mean, c.at = serving, v.Now
	}
	c.mean += (serving - c.mean) * min(1, (v.Now-c.at).Seconds()/minute)
	c.at = v.Now
}

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
	budget := n
	if p.MaxFractionPerMinute > 0 && p.MaxFractionPerMinute < 1 { // 1 is no ceiling
		budget = c.budget(v.Now, p.MaxFractionPerMinute)
	}
	c.next = max(c.next, v.Now-catchUp)
	taken := 0
	for taken < n && taken < budget && c.next <= v.Now {
		taken++
		c.next += c.gap
	}
	c.book(v.Now, taken)
	c.exhausted = taken < n && taken >= budget
	if c.exhausted {
		c.next = v.Now + time.Second
	}
	return taken
}

// wake is when the next ones are due. A look costs what walking the connections does: where
// there are many, several leave at a time.
func (c *pacer) wake(v *View) time.Duration {
	return max(c.next, v.Now+min(time.Duration(len(v.Conns))*lookCost, catchUp/2))
}

// budget is how many may go after those of the last minute.
func (c *pacer) budget(now time.Duration, share float64) int {
	sent := 0
	for _, s := range c.last {
		if s.sent > 0 && now.Truncate(time.Second)-s.at <= minute*time.Second {
			sent += int(s.sent)
		}
	}
	return max(1, int(share*c.mean)) - sent
}

func (c *pacer) book(now time.Duration, n int) {
	now = now.Truncate(time.Second)
	s := &c.last[int(now/time.Second)%len(c.last)]
	if s.at != now {
		*s = second{at: now}
	}
	s.sent += int32(n)
}

func (c *pacer) why() string {
	if c.exhausted {
		return "; out of this minute's budget (rebalance.maxFractionPerMinute)"
	}
	return ""
}
