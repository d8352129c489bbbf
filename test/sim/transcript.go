package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// transcript keeps what the pods of one world decide, from a time on, up to a number of lines.
type transcript struct {
	from  time.Duration // since the change
	most  int
	title string
	lines []line
	more  int
}

// line is what one or more pods did within a second.
type line struct {
	at    time.Duration
	pods  []string
	what  string
	times int
}

// begin starts the transcript of a scenario.
func (t *transcript) begin(title string) { t.title, t.lines, t.more = title, nil, 0 }

// maxPods is how many pods a line names.
const maxPods = 8

// add adds a line. Only one world may call it.
func (t *transcript) add(at time.Duration, pod, what string) {
	if at -= warm; at < t.from {
		return
	}
	for i := len(t.lines) - 1; i >= 0 && at-t.lines[i].at < time.Second; i-- {
		if l := &t.lines[i]; l.what == what {
			l.add(pod)
			return
		}
	}
	if len(t.lines) == t.most {
		t.more++
		return
	}
	t.lines = append(t.lines, line{at: at, what: what})
	t.lines[len(t.lines)-1].add(pod)
}

func (l *line) add(pod string) {
	l.times++
	if slices.Contains(l.pods, pod) {
		return
	}
	l.pods = append(l.pods, pod)
}

func (t *transcript) print(out io.Writer) {
	fmt.Fprintf(out, "--- %s: seconds after the change, pods, what they did\n", t.title)
	for _, l := range t.lines {
		pods := strings.Join(l.pods[:min(len(l.pods), maxPods)], " ")
		if more := len(l.pods) - maxPods; more > 0 {
			pods += fmt.Sprintf(" and %d more", more)
		}
		if l.times > len(l.pods) {
			pods += fmt.Sprintf(" (%d times)", l.times)
		}
		fmt.Fprintf(out, "%9.2f  %-16s %s\n", l.at.Seconds(), pods, l.what)
	}
	if t.more > 0 {
		fmt.Fprintf(out, "          ... and %d more lines (-lines, -from)\n", t.more)
	}
}
