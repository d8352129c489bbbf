package plan

import "time"

// allowance bounds what evenness may drain while the membership is at rest. Connections that
// come and go make pods uneven by chance, and what is moved today is gone tomorrow. So the
// GOAWAYs of a long time are a small part of the connections that end by themselves, or a
// small part of those that stay.
type allowance struct {
	left     float64
	lead     float64 // how much more came back with time than with clients that ended
	departed uint64
	at       time.Duration
	known    bool
	churn    float64 // connections ended by clients in an hour, for each that is open
}

const (
	// restPerDeparted is how many connections may be drained for each that ended by itself.
	restPerDeparted = 1. / 30
	// restPerDay is how many may be drained in a day for each that is open.
	restPerDay = 0.5
	// restAtOnce is the part of the connections that may be drained after a long rest.
	restAtOnce = 0.25
	// churning is how many connections must end in an hour, for each that is open.
	churning = 0.1
)

func (a *allowance) observe(v *View) {
	most := max(lookLeast, restAtOnce*float64(v.Serving))
	if !a.known {
		*a = allowance{left: most, departed: v.Departed, at: v.Now, known: true}
		return
	}
	byTime := (v.Now - a.at).Hours() / 24 * restPerDay * float64(v.Serving)
	byDeparted := restPerDeparted * float64(v.Departed-min(a.departed, v.Departed))
	a.left = min(most, a.left+a.moreOf(byTime, byDeparted, most))
	a.follow(v)
}

// moreOf is what the greater of the two sums has grown by. The smaller one lags behind by most at
// most, so that a long rest does not outweigh what comes later.
func (a *allowance) moreOf(byTime, byDeparted, most float64) float64 {
	before := a.lead
	timed := before + byTime
	a.lead = timed - byDeparted
	grown := max(0, timed) - max(0, before) + max(0, -a.lead) - max(0, -timed)
	a.lead = min(max(a.lead, -most), most)
	return grown
}

// follow measures the churn of about the last hour.
func (a *allowance) follow(v *View) {
	passed := (v.Now - a.at).Hours()
	departed := float64(v.Departed - min(a.departed, v.Departed))
	a.churn += departed/float64(max(v.Serving, 1)) - a.churn*min(1, passed)
	a.at, a.departed = v.Now, v.Departed
}

// limits reports whether the allowance is in force. Connections that stay are uneven for a
// reason, and stay even once they are. Loads by another weight always come and go.
func (a *allowance) limits(p *Policy) bool { return !p.Whole || a.churn > churning }

func (a *allowance) spent(p *Policy) bool { return a.limits(p) && a.left < 1 }
