package h2conn

// tellNews tells the observer what it does not know yet: mostly nothing.
func (c *Conn) tellNews() {
	if c.news.Load() {
		c.tellAll()
	}
}

// tellAll does so in one goroutine at a time, others leave their news to it: that
// keeps the order without a lock held and without a queue that could grow.
func (c *Conn) tellAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.telling {
		return
	}
	c.telling = true
	for tell := c.nextLocked(); tell != nil; tell = c.nextLocked() {
		c.mu.Unlock()
		tell()
		c.mu.Lock()
	}
	c.telling = false
}

// nextLocked returns the next thing to tell, nil if there is none. Whoever
// caused the GOAWAY, Asked is told before it and all other states after it.
func (c *Conn) nextLocked() func() {
	obs := c.obs
	if obs == nil {
		c.news.Store(false)
		return nil
	}
	switch {
	case c.lost != 0 && !c.toldLost:
		c.toldLost = true
		return tellLost(obs, losses[c.lost])
	case c.told == Open && c.state != Open:
		c.told = Draining
		return func() { obs.OnState(Draining) }
	case c.goAway && !c.toldGoAway:
		c.toldGoAway = true
		own := c.own
		return func() { obs.OnGoAway(own) }
	case c.told != c.state:
		c.told = nextState(c.told, c.state)
		told := c.told
		return func() { obs.OnState(told) }
	case c.ended && c.turn.busy():
		// A client may read a GOAWAY and close before the write of it has returned
		// here: the end waits, or the GOAWAY would never be told. The writer looks at
		// news after it has given its turn back.
		return nil
	case c.ended:
		c.obs = nil
		how := c.how
		return func() { obs.OnClose(how) }
	}
	c.news.Store(false)
	return nil
}

// nextState goes down the list step by step, and up at once.
func nextState(told, state State) State {
	if told < state {
		return told + 1
	}
	return state
}

func tellLost(obs Observer, err error) func() {
	return func() {
		if lo, ok := obs.(LossObserver); ok {
			lo.OnLost(err)
		}
	}
}
