package h2conn

// notify calls the observer with whatever it has not heard of yet, usually
// nothing.
func (c *Conn) notify() {
	if c.news.Load() {
		c.notifyAll()
	}
}

// notifyAll does so in one goroutine at a time; the others leave their news to
// it. That keeps the order without holding a lock and without a queue that
// could grow.
func (c *Conn) notifyAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.notifying {
		return
	}
	c.notifying = true
	for call := c.nextCallLocked(); call != nil; call = c.nextCallLocked() {
		c.mu.Unlock()
		call()
		c.mu.Lock()
	}
	c.notifying = false
}

// nextCallLocked returns the next call of the observer, or nil if there is none
// to make now.
func (c *Conn) nextCallLocked() func() {
	obs := c.obs
	if obs == nil {
		c.news.Store(false)
		return nil
	}
	switch {
	case c.use != c.useNotified:
		c.useNotified = c.use
		u := c.use
		return func() { obs.OnUse(u) }
	case c.rest == stirred:
		c.rest = awake
		return streamsCall(obs)
	case c.lost != 0 && !c.lossNotified:
		c.lossNotified = true
		return lossCall(obs, losses[c.lost])
	case c.goAway != noGoAway && !c.goAwayNotified:
		c.goAwayNotified = true
		byUs := c.goAway == ours
		return func() { obs.OnGoAway(byUs) }
	case c.state == Closed && c.writeMu.locked():
		// A client may read a GOAWAY and close before the write of it returns here.
		// OnClose waits for that write, or OnGoAway would never be called. The writer
		// calls notify after it has released the lock.
		return nil
	case c.state == Closed:
		c.obs = nil
		how := c.finalHowLocked()
		return func() { obs.OnClose(how) }
	}
	c.news.Store(false)
	return nil
}

func streamsCall(obs Observer) func() {
	return func() {
		if so, ok := obs.(StreamObserver); ok {
			so.OnStreams()
		}
	}
}

func lossCall(obs Observer, err error) func() {
	return func() {
		if lo, ok := obs.(LossObserver); ok {
			lo.OnLost(err)
		}
	}
}
