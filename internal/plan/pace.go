package plan

import "time"

// pacer spreads one round's GOAWAYs over time.
type pacer struct {
	next, gap time.Duration

	// The GOAWAYs of the last 60 s, to keep within the share per minute.
	last      [minute + 1]second
	exhausted bool

	// The mean number of connections over about the last minute. A connection that moved
	// still counts in one pod's mean for as long as it is missing in another's. So all pods'
	// shares add up to the share of all connections.
	mean float64
	at   time.Duration
}

// together is the part of MaxPerSecond that pods use which send at the same time.
const together = 0.9

// minute is in seconds.
const minute = 60

// second counts the GOAWAYs in one second of the last minute.
type second struct {
	at   time.Duration // in whole seconds; 0: never
	sent int32
}

// observe updates the mean number of connections.
func (c *pacer) observe(v *View) {
	serving := float64(max(v.Serving, len(v.Conns)))
	if c.at == 0 {
		c.mean, c.at = serving, v.Now
	}
	c.mean += (serving - c.mean) * min(1, (v.Now-c.at).Seconds()/minute)
	c.at = v.Now
}

// start spreads n GOAWAYs over the given time.
func (c *pacer) start(now time.Duration, n int, length time.Duration) {
	c.next = now
	c.gap = length / time.Duration(max(n, 1))
}

// roundLength is how long n GOAWAYs take, if as many pods send as many at the same time:
// together they keep within MaxPerSecond, since each may open a connection to the same pod.
func roundLength(n, pods int, p *Policy) time.Duration {
	byRate := time.Duration(0)
	if p.MaxPerSecond > 0 {
		byRate = time.Duration(float64(n) / p.MaxPerSecond * float64(time.Second))
		if pods > 1 { // they begin at different moments
			byRate = time.Duration(float64(byRate) * float64(pods) / together)
		}
	}
	return max(min(p.Spread, time.Duration(n)*perGoaway), byRate)
}

// reachLength is the same for a round of reach. What all pods together may send within a second
// needs no second: a channel is drained by one pod, so close GOAWAYs go to different channels.
func reachLength(n, pods int, p *Policy) time.Duration {
	if p.MaxPerSecond > 0 && float64(n*pods) > p.MaxPerSecond {
		return roundLength(n, pods, p)
	}
	return min(p.Spread, time.Duration(n)*perChannel)
}

func (c *pacer) length(n int) time.Duration { return c.gap * time.Duration(n) }

// take returns how many of n GOAWAYs may be sent now.
func (c *pacer) take(v *View, p *Policy, n int) int {
	budget := n
	if p.MaxFractionPerMinute > 0 && p.MaxFractionPerMinute < 1 { // 1 is no limit
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

// wake is when the next GOAWAYs are due.
func (c *pacer) wake(v *View) time.Duration { return max(c.next, v.Now+paceStep) }

// budget is what the last minute's GOAWAYs have left of the share per minute.
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

// why continues a sentence with the reason for a pause.
func (c *pacer) why() string {
	if c.exhausted {
		return "; this minute's budget is used up (rebalance.maxFractionPerMinute)"
	}
	return ""
}
