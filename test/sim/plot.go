package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/evenkeel-go/evenkeel/test/sim/internal/world"
)

// writePlots writes one SVG for each scenario that has a Title.
func writePlots(dir string, chosen []*Scenario, seed uint64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, s := range chosen {
		if s.Title == "" {
			continue
		}
		cfg := s.config(seed)
		cfg.Series = true
		svg := plotOf(s, cfg.Pods, s.play(cfg), seed)
		if err := os.WriteFile(filepath.Join(dir, s.Name+".svg"), []byte(svg), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// The layout of the page, in pixels.
const (
	plotWidth, plotHeight = 760, 420
	left, right           = 64, 742
	linesTop, linesBase   = 62, 260
	barsTop, barsBase     = 300, 372
)

// style follows the reader's light or dark preference.
const style = `<style>
text { font: 12px system-ui, sans-serif; fill: #57606a }
.title { font-size: 15px; font-weight: 600; fill: #24292f }
.grid { stroke: #d0d7de; stroke-width: 1 }
.axis { stroke: #8c959f; stroke-width: 1 }
.line { fill: none; stroke-width: 1.4; stroke-linejoin: round; stroke-opacity: 0.75 }
.old { stroke: #0969da } .new { stroke: #bc4c00 } .mean { fill: none; stroke: #6e7781; stroke-dasharray: 4 3 }
.bar { fill: #8250df }
@media (prefers-color-scheme: dark) {
text { fill: #8b949e } .title { fill: #e6edf3 } .grid { stroke: #30363d } .axis { stroke: #6e7681 }
.old { stroke: #58a6ff } .new { stroke: #f0883e } .mean { stroke: #8b949e } .bar { fill: #bc8cff }
}
</style>
`

// axes map times and loads to coordinates.
type axes struct {
	from, to  time.Duration // since the change
	most      float64       // the largest load
	mostBar   float64       // the largest number of GOAWAYs in one bar
	barLength time.Duration
	every     int // one sample in every is drawn
}

func (a *axes) x(t time.Duration) float64 {
	return left + float64(t-a.from)/float64(a.to-a.from)*(right-left)
}

func (a *axes) y(load float64) float64 { return linesBase - load/a.most*(linesBase-linesTop) }

func (a *axes) yBar(n float64) float64 { return barsBase - n/a.mostBar*(barsBase-barsTop) }

// plotOf draws the loads of the pods over time and the GOAWAYs below them. The first old pods
// were there before the change.
func plotOf(s *Scenario, old int, r *world.Result, seed uint64) string {
	a, bars := scale(r)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s">`+"\n%s", plotWidth, plotHeight, s.Title, style)
	fmt.Fprintf(&b, `<text class="title" x="%d" y="22">%s</text>`+"\n", left, s.Title)
	fmt.Fprintf(&b, `<text x="%d" y="42">%s</text>`+"\n", left, subtitle(s, r, seed))
	a.frame(&b)
	a.lines(&b, r, old)
	a.bars(&b, bars)
	b.WriteString("</svg>\n")
	return b.String()
}

func loadName(s *Scenario) string {
	if s.World.Requests {
		return "requests/s"
	}
	return "connections"
}

func subtitle(s *Scenario, r *world.Result, seed uint64) string {
	return fmt.Sprintf("%s per pod: old (blue), new (orange), mean (dashed); %.2f GOAWAYs per connection; seed %d",
		loadName(s), perConn(r), seed)
}

// scale chooses the axes: from a little before the change to a little after the last GOAWAY.
func scale(r *world.Result) (*axes, []int) {
	a := &axes{from: -10 * time.Second, to: time.Minute}
	if n := len(r.GoAways); n > 0 {
		a.to = max(a.to, r.GoAways[n-1].At-warm+20*time.Second)
	}
	if r.EvenFrom > 0 {
		a.to = max(a.to, r.EvenFrom-warm+30*time.Second)
	}
	a.to = min(a.to, r.Final.At-warm)
	for _, m := range r.Series {
		if t := m.At - warm; t >= a.from && t <= a.to {
			a.most = max(a.most, m.Most)
		}
	}
	a.every = int((a.to-a.from)/(400*time.Second)) + 1
	a.barLength = max(time.Second, (a.to-a.from)/120).Truncate(time.Second)
	bars := make([]int, int((a.to-a.from)/a.barLength)+1)
	for _, g := range r.GoAways {
		if i := int((g.At - warm - a.from) / a.barLength); i < len(bars) {
			bars[i]++
			a.mostBar = max(a.mostBar, float64(bars[i]))
		}
	}
	a.most, a.mostBar = roundUp(a.most), roundUp(max(a.mostBar, 1))
	return a, bars
}

// roundUp returns the smallest of 1, 2, 3, 4, 5, 6, 8, 10, 20, ... that is at least x.
func roundUp(x float64) float64 {
	size := math.Pow(10, math.Floor(math.Log10(max(x, 1e-9))))
	for _, n := range []float64{1, 2, 3, 4, 5, 6, 8, 10} {
		if n*size >= x-1e-9 {
			return n * size
		}
	}
	return 10 * size
}

// frame draws the axes and their labels.
func (a *axes) frame(b *strings.Builder) {
	for i := range 5 {
		v := a.most * float64(i) / 4
		fmt.Fprintf(b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%.4g</text>`+"\n",
			left, right, a.y(v), a.y(v), left-8, a.y(v)+4, v)
	}
	for i := range 3 {
		v := a.mostBar * float64(i) / 2
		fmt.Fprintf(b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%.4g</text>`+"\n",
			left, right, a.yBar(v), a.yBar(v), left-8, a.yBar(v)+4, v)
	}
	step := timeStep(a.to - a.from)
	for t := time.Duration(0); t <= a.to; t += step {
		fmt.Fprintf(b, `<line class="axis" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			a.x(t), a.x(t), barsBase, barsBase+5, a.x(t), barsBase+19, timeText(t, step))
	}
	for _, y := range []int{linesBase, barsBase} {
		fmt.Fprintf(b, `<line class="axis" x1="%d" x2="%d" y1="%d" y2="%d"/>`+"\n", left, right, y, y)
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">GOAWAYs per %v</text>`+"\n", right, barsTop-6, a.barLength)
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">time since the change</text>`+"\n", right, barsBase+40)
}

func timeStep(whole time.Duration) time.Duration {
	for _, step := range []time.Duration{10 * time.Second, 20 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute} {
		if whole/step <= 10 {
			return step
		}
	}
	return (whole / 10).Truncate(time.Hour) + time.Hour
}

func timeText(t, step time.Duration) string {
	if step%time.Minute == 0 {
		return fmt.Sprintf("%.0f min", t.Minutes())
	}
	return fmt.Sprintf("%.0f s", t.Seconds())
}

// lines draws the load of each pod while it serves, and the mean.
func (a *axes) lines(b *strings.Builder, r *world.Result, old int) {
	pods := len(r.Series[len(r.Series)-1].Loads)
	for pod := range pods {
		class := "old"
		if pod >= old {
			class = "new"
		}
		a.line(b, "line "+class, r, func(m *world.Moment) float64 {
			if pod >= len(m.Loads) {
				return -1
			}
			return m.Loads[pod]
		})
	}
	a.line(b, "mean", r, func(m *world.Moment) float64 { return m.Mean })
}

// line draws the values that are not negative, and leaves out the points inside flat parts.
func (a *axes) line(b *strings.Builder, class string, r *world.Result, of func(*world.Moment) float64) {
	var points []string
	last, held := -1.0, "" // held is the latest point of a flat part
	put := func(at string) {
		if at != "" {
			points = append(points, at)
		}
	}
	end := func() {
		put(held)
		if len(points) > 1 {
			fmt.Fprintf(b, `<polyline class="%s" points="%s"/>`+"\n", class, strings.Join(points, " "))
		}
		points, held, last = nil, "", -1
	}
	for i := 0; i < len(r.Series); i += a.every {
		m := &r.Series[i]
		t, v := m.At-warm, of(m)
		if t < a.from || t > a.to || v < 0 {
			end()
			continue
		}
		at := fmt.Sprintf("%.1f,%.1f", a.x(t), a.y(v))
		if v == last {
			held = at
			continue
		}
		put(held)
		put(at)
		last, held = v, ""
	}
	end()
}

func (a *axes) bars(b *strings.Builder, bars []int) {
	for i, n := range bars {
		if n == 0 {
			continue
		}
		at := a.from + time.Duration(i)*a.barLength
		x, y := a.x(at), a.yBar(float64(n))
		fmt.Fprintf(b, `<rect class="bar" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`+"\n",
			x, y, max(a.x(at+a.barLength)-x-0.5, 0.5), barsBase-y)
	}
}
