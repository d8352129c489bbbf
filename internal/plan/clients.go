package plan

import (
	"maps"
	"math"
	"time"
)

// clients is the memory of what rounds have shown of single clients, by key. Each entry
// expires: addresses change hands, and clients change their policy.
//
//	single-homed   it did not come back to the pod that drained it
//	multi-homed    another pod holds as many of its connections
//	pinned         it came back more often in a row than chance explains; see rest
type clients struct {
	singleHomed map[string]bool          // in this growth; replaced, never changed
	wasAway     map[string]time.Duration // the same of earlier growths, and until when
	multiHomed  map[string]time.Duration // until when
	era         era                      // as of multiHomed
	comeBack    bool                     // those on some of the pods come back, as channels do
}

// era is a time in which the same pods can show whether a client is multi-homed.
type era struct {
	generation uint64
	reached    bool
}

// maxRemembered bounds each memory.
const maxRemembered = 4096

// away learns that clients did not come back.
func (c *clients) away(keys []string, now time.Duration) {
	c.singleHomed = withKeys(c.singleHomed, keys)
	if len(c.wasAway)+len(keys) > maxRemembered || c.wasAway == nil {
		c.wasAway = make(map[string]time.Duration, len(keys))
	}
	for _, key := range keys {
		c.wasAway[key] = now + singleHomedKept
	}
}

// wasSingleHomed reports whether a client did not come back within the last hour.
func (c *clients) wasSingleHomed(key string, now time.Duration) bool { return c.wasAway[key] > now }

// everywhere learns that a client is multi-homed, until then.
func (c *clients) everywhere(key string, until time.Duration) {
	if c.multiHomed == nil || len(c.multiHomed) >= maxRemembered {
		c.multiHomed = map[string]time.Duration{}
	}
	c.multiHomed[key] = until
}

// begin forgets which clients are multi-homed once other pods show it.
func (c *clients) begin(e era) {
	if c.era != e {
		c.era, c.multiHomed = e, nil
	}
}

// withKeys returns a copy of set with keys. It leaves set alone, which may be read
// elsewhere.
func withKeys(set map[string]bool, keys []string) map[string]bool {
	if len(keys) == 0 {
		return set
	}
	out := make(map[string]bool, len(set)+len(keys))
	maps.Copy(out, set)
	for _, key := range keys {
		out[key] = true
	}
	return out
}

// unlikely is the chance below which a rule does not believe in chance.
const unlikely = 1e-3

// rest is how long a client that came back is left alone. It may have landed here by chance,
// one time in as many as there are pods. Only what chance does not explain makes it pinned:
// it has session affinity, or knows no other pod.
//
//	chance may explain it   the cooldown
//	the first time not      10 min
//	then                    1 h, then 48 h
func rest(returns, pods int, p *Policy) time.Duration {
	switch byNow := returns - explained(pods); {
	case byNow <= 0:
		return p.Cooldown
	case byNow == 1:
		return max(p.Cooldown, 10*time.Minute)
	case byNow == 2:
		return time.Hour
	}
	return 48 * time.Hour
}

// restOf is rest, but shorter for a connection of HTTP/1.1 while chance explains the returns of
// its client: it rests for one round. Each new connection of a client counts as the return of
// another that was drained, whichever it is. Most of them land anywhere, at once: they go to the
// address of a Service or of a proxy, not to what a resolver knows.
func restOf(c *Conn, pods int, p *Policy) time.Duration {
	d := rest(c.FutileDrains, pods, p)
	if c.Single && !Pinned(c.FutileDrains, pods) {
		return min(d, singleRest)
	}
	return d
}

// explained is how many returns in a row chance explains: 9 with 2 pods, 6 with 3, 2 with 10.
func explained(pods int) int {
	return max(1, int(math.Ceil(-math.Log(unlikely)/math.Log(float64(max(pods, 2))))-1))
}

// Pinned reports whether a client has come back so often in a row that it counts as pinned.
func Pinned(returns, pods int) bool { return returns > explained(pods) }

// byChance is a number of n connections that hardly ever lands on a pod with this part of
// all new ones: four standard deviations above the mean.
func byChance(n, part float64) float64 {
	return n*part + 4*math.Sqrt(n*part*(1-part))
}
