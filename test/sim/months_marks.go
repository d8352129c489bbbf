package main

// marks name what keeps a scenario from its limits today. A scenario that keeps them loses its
// line here.
var marks = map[string]string{
	"hpa-3to5":         "a client that comes back by chance is taken for pinned",
	"bursts-10-2min":   "requests that come in bursts look like lasting imbalance",
	"reports-0":        "a pod that reports a false load is believed",
	"one-address-4to8": "clients of unequal load behind one address are taken for one client",
	"idle-busy-2to4":   "connections are evened, not traffic: too many of those that move are idle",
	"zones-3x2-14":     "evenness within a zone is not good enough yet",
	"zones-3x6-14":     "evenness within a zone is not good enough yet",
	"zones-3x6-150":    "evenness within a zone is not good enough yet",
	"few-10to20":       "with few connections a pod, chance moves some of them twice",
	"zones-3x20-14":    "evenness within a zone is not good enough yet",
	"zones-3x20-150":   "evenness within a zone is not good enough yet",
	"zones-scattered":  "evenness within a zone is not good enough yet",
	"zones-hpa":        "evenness within a zone is not good enough yet",
	"polite-lazy":      "the median holds, but one seed in eight needs a fifth round of 30 s: where clients connect again only when their streams end, nothing shows earlier where they land",
}
