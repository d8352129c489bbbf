package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// comparison is what the tests of grpc-go came to on bare and on tracked servers.
type comparison struct {
	both        map[serverKind]*outcomes
	connections map[string]uint64
	// repeats are the runs of single tests after the first run of all.
	repeats map[testID][]repeated
	// all is true if packages without a server are among them.
	all bool
}

// repeated is one more run of one test.
type repeated struct{ bare, tracked string }

// suspects are the tests that do worse tracked than bare.
func (c *comparison) suspects() []testID {
	var ids []testID
	for id, outcome := range c.both[bare].tests {
		if id.name != "" && worse(outcome, c.both[tracked].tests[id]) {
			ids = append(ids, id)
		}
	}
	for id, outcome := range c.both[tracked].tests {
		if _, ran := c.both[bare].tests[id]; !ran && outcome == failed {
			ids = append(ids, id) // a parent, or a whole package
		}
	}
	slices.SortFunc(ids, byName)
	return ids
}

func byName(a, b testID) int { return cmp.Or(cmp.Compare(a.pkg, b.pkg), cmp.Compare(a.name, b.name)) }

// worse reports whether a tracked server did worse than a bare one. A test that has not run
// at all has the outcome "".
func worse(bare, tracked string) bool {
	switch bare {
	case passed:
		return tracked != passed
	case skipped:
		return tracked == failed
	default:
		return false
	}
}

// note remembers one more run of a test.
func (c *comparison) note(id testID, again map[serverKind]*outcomes) {
	if c.repeats == nil {
		c.repeats = make(map[testID][]repeated)
	}
	c.repeats[id] = append(c.repeats[id], repeated{again[bare].of(id), again[tracked].of(id)})
}

// of returns the outcome of one test in a run of it alone. What fails only as a whole has no
// outcome if it passes.
func (o *outcomes) of(id testID) string {
	if got, ok := o.tests[id]; ok {
		return got
	}
	for other, got := range o.tests {
		if got == failed && (other.pkg == id.pkg) {
			return failed
		}
	}
	if len(o.tests) == 0 {
		return ""
	}
	return passed
}

// settled reports whether a test that differed is as good as on a bare server: it passed
// tracked at last, or failed bare as well. Then it is flaky.
func (c *comparison) settled(id testID) bool {
	for _, r := range c.repeats[id] {
		if r.tracked == passed || r.bare == failed {
			return true
		}
	}
	return false
}

// differences are the tests that never pass tracked and always bare, without those that
// cannot pass.
func (c *comparison) differences() (different, flaky, known []testID) {
	for _, id := range c.suspects() {
		switch _, white := whitebox[id]; {
		case c.settled(id):
			flaky = append(flaky, id)
		case white:
			known = append(known, id)
		default:
			different = append(different, id)
		}
	}
	return different, flaky, known
}

// print prints the table and what differs, and reports whether the tracked servers did as
// the bare ones.
func (c *comparison) print(out io.Writer) bool {
	different, flaky, known := c.differences()
	c.table(out, different)
	for _, id := range flaky {
		fmt.Fprintf(out, "flaky: %s: %v\n", id, c.repeats[id])
	}
	for _, id := range known {
		fmt.Fprintf(out, "cannot pass tracked: %s: %s\n", id, whitebox[id])
	}
	for _, id := range different {
		fmt.Fprintf(out, "DIFFERENT: %s: bare passes, tracked does not: %v\n%s", id, c.repeats[id], strings.Join(c.both[tracked].output[id], ""))
	}
	worthless := c.worthless()
	for _, text := range worthless {
		fmt.Fprintln(out, "SHOWS NOTHING:", text)
	}
	return len(different) == 0 && len(worthless) == 0
}

// worthless says which packages show nothing, and why.
func (c *comparison) worthless() []string {
	var texts []string
	if len(c.connections) == 0 {
		texts = append(texts, "no connection was tracked")
	}
	for _, pkg := range c.both[tracked].packages() {
		if c.connections[pkg] == 0 && !c.all { // among all packages many have no server
			texts = append(texts, pkg+": no connection was tracked")
		}
		if pass, fail := c.both[bare].count(pkg, passed), c.both[bare].count(pkg, failed); fail > pass {
			texts = append(texts, fmt.Sprintf("%s: %d of its tests fail on bare servers", pkg, fail))
		}
	}
	return texts
}

// table prints one line for each package that has a server.
func (c *comparison) table(out io.Writer, different []testID) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "tests\tbare: pass\tfail\tskip\ttracked: pass\tfail\tskip\tconnections tracked\tdifferent\tseconds\t  package")
	var sum row
	for _, pkg := range c.both[tracked].packages() {
		if c.all && c.connections[pkg] == 0 {
			continue
		}
		r := c.row(pkg, different)
		sum.add(&r)
		r.print(w, strings.TrimPrefix(pkg, grpcModule+"/"))
	}
	sum.print(w, "in all")
	_ = w.Flush()
}

// row is a line of the table.
type row struct {
	bare, tracked [3]int // passed, failed, skipped
	connections   uint64
	different     int
	seconds       float64
}

func (c *comparison) row(pkg string, different []testID) row {
	r := row{connections: c.connections[pkg], seconds: c.both[tracked].seconds[pkg]}
	for i, outcome := range []string{passed, failed, skipped} {
		r.bare[i], r.tracked[i] = c.both[bare].count(pkg, outcome), c.both[tracked].count(pkg, outcome)
	}
	for _, id := range different {
		if id.pkg == pkg {
			r.different++
		}
	}
	return r
}

func (r *row) add(other *row) {
	for i := range r.bare {
		r.bare[i] += other.bare[i]
		r.tracked[i] += other.tracked[i]
	}
	r.connections += other.connections
	r.different += other.different
	r.seconds += other.seconds
}

func (r *row) print(w io.Writer, name string) {
	fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.0f\t  %s\n", r.tracked[0]+r.tracked[1]+r.tracked[2],
		r.bare[0], r.bare[1], r.bare[2], r.tracked[0], r.tracked[1], r.tracked[2], r.connections, r.different, r.seconds, name)
}
