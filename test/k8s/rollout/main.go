// Command rollout counts what the watchers of one Service get to read during a rolling update,
// with the reconciler of Kubernetes itself: how often its EndpointSlices are written, and how
// many bytes each watcher of them is sent for that.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

func main() {
	fs := flag.NewFlagSet("rollout", flag.ExitOnError)
	fleets := fs.String("pods", "100,1000", "sizes of the `fleet`")
	surge := fs.Float64("surge", 0.25, "the `part` of the pods that are replaced at a time")
	_ = fs.Parse(os.Args[1:])
	if err := run(*fleets, *surge, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "rollout:", err)
		os.Exit(1)
	}
}

func run(fleets string, surge float64, out io.Writer) error {
	if surge <= 0 || surge > 1 {
		return fmt.Errorf("-surge is %v, want a part above 0 and up to 1", surge)
	}
	fmt.Fprintln(out, "| pods | slices are written | bytes of one write | to one watcher | to all pods as watchers |")
	fmt.Fprintln(out, "|---|---|---|---|---|")
	for text := range strings.SplitSeq(fleets, ",") {
		pods, err := strconv.Atoi(text)
		if err != nil || pods < 1 || pods > 10_000 {
			return fmt.Errorf("-pods has %q, want numbers from 1 to 10,000", text)
		}
		for _, together := range []bool{false, true} {
			f := newFleet(pods)
			if err := f.roll(max(1, int(surge*float64(pods))), together); err != nil {
				return err
			}
			how := "one by one"
			if together {
				how = "together"
			}
			mean := f.bytes / max(f.writes, 1)
			fmt.Fprintf(out, "| %d, %s | %d times | %s | %s | %s |\n", pods, how, f.writes, size(mean), size(f.bytes), size(f.bytes*pods))
		}
	}
	return nil
}

// size formats a number of bytes, for a person.
func size(n int) string {
	f := float64(n)
	for _, unit := range []string{"B", "kB", "MB", "GB"} {
		if f < 1000 {
			return strconv.FormatFloat(f, 'g', 3, 64) + " " + unit
		}
		f /= 1000
	}
	return strconv.FormatFloat(f, 'f', 1, 64) + " TB"
}
