package plan

import (
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/config"
)

// The times lean on each other. Each line has what must not be longer than what, and why.
func TestTimes(t *testing.T) {
	def := config.Default()
	for _, tc := range []struct {
		short, long time.Duration
		why         string
	}{
		{resolverRest, resolverWait, "a client that waits for its resolver must have connected, too"},
		{resolverWait, DefaultCheckAfter, "a check before clients have resolved again counts them as missing"},
		{DefaultCheckAfter * (DefaultMaxRounds + 1), longServing, "an established pod is older than every round of the growth that brought it"},
		{comesBack, resolverRest, "who dials the same address at once does not wait for a resolver"},
		{comesBack, DefaultCheckAfter, "the first check of a round comes before the second"},
		{pauses[0], DefaultCheckAfter, "the first pause need not be longer than a check of reach"},
		{resolverWait, pauses[0], "a client may need a second lookup before it lands elsewhere"},
		{pauses[0], pauses[1], "each pause is longer than the one before"},
		{pauses[1], pauses[2], "each pause is longer than the one before"},

		{quickSettle, def.Rebalance.Settle, "the quick way is for what is known, and is no slower than the other"},
		{def.Rebalance.Settle, startWait, "pods that are starting are worth a longer wait than none"},
		{def.Shutdown.Timeout, stopping, "the clients of a removed pod are drained for as long as it may take to stop"},
		{proxyWait, stopping, "proxies learn of a change while the old pod still serves"},

		{longestLull, longestBurst, "a burst is several lulls"},
		{longestBurst, rolloutGap, "changes of one burst belong together"},
		{rolloutGap, knownPatience, "the next pod of a rollout may be as late as the last one was"},
		{knownPatience, shortestPatience, "to know the revisions is no reason to wait for longer"},
		{shortestPatience, longestPatience, "the least is below the most"},

		{judgeReturn, probation(0, true), "a probation ends after it is known what it should be"},
		{judgeReturn, probation(1, false), "a probation ends after it is known what it should be"},
		{probation(9, true), longTenure, "the longest probation can be served within a tenure"},
		{longTenure, forgetPod, "a pod is remembered for as long as its tenure counts as short"},
		{probation(9, true), forgetPod, "a pod is remembered for as long as its probation lasts"},

		{lastsSoon, lastsLater, "imbalance is expected soon after a change"},
		{lastsLater, mostPatience, "patience grows from the one to the other"},
		{mostPatience, calmAfter, "a pod that waits for the longest time still acts before its fleet counts as calm without being even"},
		{soonAfter, calmAfter, "even pods are calm sooner than others"},
		{landing, lossy, "reports that are waited for show connections that have landed"},
		{lossy, ReportFresh, "a round waits for new reports for less than old ones count"},
		{queryPause, lossy, "a lost answer costs less than a lost report"},
		{sureAfter, ReportFresh, "suspicion lasts for some reports, not until old ones no longer count"},
		{weighing, ReportFresh, "a weight that shows late is in a report that still counts"},

		{landing, singleRest, "a connection of HTTP/1.1 is counted where it has landed before it may move again"},
		{singleRest, def.Rebalance.Cooldown, "a connection of HTTP/1.1 rests for less than others"},
		{def.Rebalance.Cooldown, multiHomedKept, "a client that was found on all pods rests for longer than one that came back"},
		{longServing, singleHomedKept, "what a growth has shown outlives its rounds"},
		{lastsYoung + time.Minute, soonAfter, "what is uneven from the start moves before the pods are at rest"},
		{shownLeast, shownMost, "hysteresis grows from the one to the other"},

		{time.Duration(float64(time.Second) / def.Rebalance.MaxPerSecond), perGoaway, "GOAWAYs at their usual pace keep within the default rebalance.maxPerSecond"},
		{perGoaway, def.Rebalance.Spread, "one GOAWAY takes no longer than a round"},
		{paceStep, perGoaway, "planning runs often enough to send each GOAWAY on time"},
		{catchUp, LongestRest, "a loop that rests as usual makes up for nothing but the end of its rest"},
	} {
		if tc.short > tc.long {
			t.Errorf("%v is above %v: %s", tc.short, tc.long, tc.why)
		}
	}
}
