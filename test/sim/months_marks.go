package main

// marks name what keeps a scenario from its limits today. A scenario that keeps them loses its
// line here.
var marks = map[string]string{
	"hpa-3to5":         "a client that comes back by chance is taken for pinned",
	"bursts-10-2min":   "beside a fleet that moves nothing, one GOAWAY a day is a miss. To wait for 9 minutes instead of 5 would meet it, and leave pods uneven that are so from the start",
	"reports-0":        "a pod that reports a false load is believed until 14 moved connections, and 4 in each later try, show that none lands there",
	"one-address-4to8": "beyond reach: the band ends at 1.1, and rates that vary by a tenth carry pods across it for the whole hour. With an address for each client, loads that stay even are as rare: in 5 of 10 seeds they never do. They first are even after 1.5 minutes, and after 4 behind one address",
	"idle-busy-2to4":   "beyond reach of a rule that counts connections: even if all 25 busy clients landed again by chance, one of the two new pods would get 3 of them or fewer in one seed of five. The median of 20 seeds holds",
	"few-10to20":       "beyond reach: a move finds a given pod with probability 1/20, so that it takes 59 moves on average until each of 10 empty pods has a connection. 40 are enough in 22 of 100 seeds",
	"polite-lazy":      "the median holds, but one seed in eight needs a fifth round of 30 s: where clients connect again only when their streams end, nothing shows earlier where they land",
}
