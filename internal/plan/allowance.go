package plan

import "time"

// allowance bounds what evenness may drain while the membership is at rest. Connections that
// come and go make pods uneven by chance, and what is moved today is gone tomorrow. So the
// GOAWAYs of a long time are a small part of the connections that came by themselves, or a
// small part of those that stay.
type allowance struct {
	left     float64
	accepted uint64
	at       time.Duration
	known    bool
}

const (
	// restPerAccepted is how many connections may be drained for each that was accepted.
	restPerAccepted = 1. / 30
	// restPerDay is how many may be drained in a day for each that is open.
	restPerDay = 0.5
	// restAtOnce is the part of the connections that may be drained after a long rest.
	restAtOnce = 0.25
)

func (a *allowance) observe(v *View) {
	most := max(lookLeast, restAtOnce*float64(v.Serving))
	if !a.known {
		*a = allowance{left: most, accepted: v.Accepted, at: v.Now, known: true}
		return
	}
	byTime := (v.Now - a.at).Hours() / 24 * restPerDay * float64(v.Serving)
	byAccepted := restPerAccepted * float64(v.Accepted-min(a.accepted, v.Accepted))
	a.left = min(most, a.left+max(byTime, byAccepted))
	a.at, a.accepted = v.Now, v.Accepted
}
