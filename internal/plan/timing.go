package plan

import "time"

// The times of the rules. TestTimes holds the inequalities between them.
const (
	// resolverRest is the shortest time between two lookups of the common resolvers.
	resolverRest = 30 * time.Second
	// resolverWait is when a drained client has resolved again: the rest, and 5 s for the
	// connections to come up.
	resolverWait = resolverRest + 5*time.Second
	// DefaultCheckAfter is how long after a round its reach is checked: 30 s more, because
	// caches between a client and its DNS server (NodeLocal DNSCache, older Corefiles) keep an
	// answer for that long. A second GOAWAY before then would be as useless as the first.
	DefaultCheckAfter = resolverWait + 30*time.Second
	// comesBack is how long after its GOAWAY a round_robin client may take to come back: it
	// dials at once. If half of the clients are slower, reach ends early. That costs no more
	// than later rounds would, for clients that are as slow as that.
	comesBack = 5 * time.Second
	// sampleStep is how often it is checked whether the first few are back.
	sampleStep = 20 * time.Millisecond
	// longServing is the age at which a pod is certainly established: every round of the
	// growth that brought it is over.
	longServing = 4 * DefaultCheckAfter
	// establishedAt is the age at which any pod may own keys: a growth may wait for the end of
	// a rollout before its rounds begin. To be strict costs nothing, since the oldest pods hold
	// the connections of all clients.
	establishedAt = longestPatience + longServing

	// startWait is how long a growth waits for pods that are not ready yet. Clients are then
	// drained once, not once for each pod. A pod that never becomes ready delays it by this.
	startWait = 15 * time.Second
	// quickSettle is how long the last new pod must have been ready where it is known that no
	// other is starting. A pod is polled for its revision within that time.
	quickSettle = 100 * time.Millisecond
	// perGoaway is the time for each GOAWAY of a round, up to rebalance.spread.
	perGoaway = 20 * time.Millisecond
	// perChannel is the same where each GOAWAY goes to another channel, and all of them are
	// within what is allowed in a second.
	perChannel = 3 * time.Millisecond
	// stopping is how long a removed pod takes to drain its clients (shutdown.timeout).
	stopping = 20 * time.Second
	// proxyWait is how long after a change kube-proxy may still send new connections to the
	// old pods only.
	proxyWait = 3 * time.Second

	// rolloutGap is the longest time between two changes of the membership that belong
	// together.
	rolloutGap = time.Minute
	// longestLull is the longest quiet time that evenness waits for while pods are added one
	// by one, and longestBurst is for how long it waits in all.
	longestLull  = 30 * time.Second
	longestBurst = time.Minute
	// shortestPatience is how long after a replaced pod the next is waited for at least, if the
	// revisions of the pods are not known.
	shortestPatience = 330 * time.Second
	// knownPatience is the same where it is known that all pods run one revision.
	knownPatience = time.Minute
	// longestPatience is how long after a replaced pod the next is waited for at most.
	longestPatience = 15 * time.Minute
	// judgeReturn is how long a returned pod may take to report whether it has restarted.
	judgeReturn = 2 * time.Second
	// longTenure is how long a pod must have been a member to leave and return as any other.
	longTenure = 30 * time.Minute
	// forgetPod is how long a removed pod is remembered.
	forgetPod = time.Hour
	// soonAfter a change imbalance is expected and need not last for lastsLater.
	soonAfter = 10 * time.Minute
	// calmAfter is how long after a change the pods may take until they are even.
	calmAfter  = time.Hour
	lastsSoon  = 2 * time.Second
	lastsLater = 20 * time.Second
	// lastsLong is lastsLater for loads that come and go by themselves, such as requests.
	lastsLong = 10 * time.Minute
	// lastsYoung is the same before anything has changed: what is uneven from the start moves
	// before the pods count as being at rest.
	lastsYoung = 5 * time.Minute
	// mostPatience is how long it must last after several rounds that did not help.
	mostPatience = 20 * time.Minute
	// landing is how long a client takes to connect to another pod, and to be counted.
	landing = time.Second
	// singleRest is how long a connection of HTTP/1.1 rests that came back: until its client may
	// have been seen to land there, and the next round begins.
	singleRest = landing + 2*time.Second
	// weighing is how long it takes until the weight of a connection that landed shows.
	weighing = 10 * time.Second
	// ReportFresh is how old a report may be to be acted upon.
	ReportFresh = 10 * time.Second
	// lossy is how long a round waits for fresh reports if some were lost.
	lossy = 3 * time.Second
	// queryPause is the time between two queries of which the first was lost.
	queryPause = 200 * time.Millisecond
	// multiHomedKept is how long a round leaves out the key of a multi-homed client.
	multiHomedKept = 10 * time.Minute
	// singleHomedKept is how long a client counts as single-homed, where no other pod can
	// show it.
	singleHomedKept = time.Hour

	// catchUp bounds what a loop that was held up (a suspended machine) may make up for
	// at once.
	catchUp = 250 * time.Millisecond
	// paceStep is the shortest time between two plans of a round that only keeps its pace.
	paceStep = 5 * time.Millisecond
	// LongestRest is the longest pause between two calls of Next, so that planning notices
	// what changes without a signal, such as a view that ages.
	LongestRest = time.Second
)

// pauses has the length of each pause of a trial. The first is as long as a resolver may keep
// an old answer.
var pauses = []time.Duration{resolverWait, 10 * time.Minute, 48 * time.Hour}
