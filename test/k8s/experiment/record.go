package experiment

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/evenkeel-go/evenkeel/example/fleet"
)

// Kind says what a Record tells.
type Kind string

// The kinds of records, and the fields that belong to them.
const (
	// Mark is the begin of a phase: Phase, and Replicas if the fleet is scaled.
	Mark Kind = "mark"
	// Ready is what the EndpointSlices say: Addresses of the ready pods, by name.
	Ready Kind = "ready"
	// DNS is an answer for the headless Service: Addresses, by themselves.
	DNS Kind = "dns"
	// Pod is what a server says on /statusz: Name, State.
	Pod Kind = "pod"
	// Calls is what a client process saw in one interval: Name, Report.
	Calls Kind = "calls"
	// Asked is a question of a client process to DNS: Name.
	Asked Kind = "asked"
)

// Record is one observation.
type Record struct {
	At        time.Time         `json:"at"`
	Fleet     string            `json:"fleet"`
	Kind      Kind              `json:"kind"`
	Phase     string            `json:"phase,omitempty"`
	Replicas  int               `json:"replicas,omitempty"`
	Name      string            `json:"name,omitempty"`
	Addresses map[string]string `json:"addresses,omitempty"`
	State     *State            `json:"state,omitempty"`
	Report    *fleet.Report     `json:"report,omitempty"`
}

// State is the part of /statusz that the figures need.
type State struct {
	Connections int               `json:"connections"`
	Opened      uint64            `json:"opened"`
	GoAways     map[string]uint64 `json:"goaways"`
	Verdict     string            `json:"verdict"`
	Why         string            `json:"why"`
}

// goaways is their sum over all reasons.
func (s *State) goaways() int {
	n := 0
	for _, of := range s.GoAways {
		n += int(of)
	}
	return n
}

// Log collects records from any goroutine.
type Log struct {
	mu  sync.Mutex
	all []Record
}

// Add puts one record in.
func (l *Log) Add(r Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, r)
}

// Records returns all in the order of their times.
func (l *Log) Records() []Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := slices.Clone(l.all)
	slices.SortStableFunc(out, func(a, b Record) int { return a.At.Compare(b.At) })
	return out
}

// Write writes records, one JSON object a line.
func Write(w io.Writer, records []Record) error {
	enc := json.NewEncoder(w)
	for i := range records {
		if err := enc.Encode(&records[i]); err != nil {
			return err
		}
	}
	return nil
}

// Read is the reverse of Write.
func Read(r io.Reader) ([]Record, error) {
	var out []Record
	for dec := json.NewDecoder(r); ; {
		var one Record
		switch err := dec.Decode(&one); {
		case err == io.EOF:
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("record %d: %w", len(out)+1, err)
		}
		out = append(out, one)
	}
}

// clientLine is a line of a client's output: a report, or the time of a question
// to DNS in milliseconds since 1970.
type clientLine struct {
	fleet.Report

	Asked int64 `json:"asked"`
}

// AddClient puts in what a client process printed. Lines that are neither a report
// nor a question are passed over: grpc may log.
func (l *Log) AddClient(name, client string, output io.Reader) error {
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		var line clientLine
		if json.Unmarshal(lines.Bytes(), &line) != nil || line.Total {
			continue
		}
		r := Record{At: time.UnixMilli(cmp.Or(line.Asked, line.T)), Fleet: name, Kind: Asked, Name: client}
		if line.Asked == 0 {
			r.Kind, r.Report = Calls, &line.Report
		}
		l.Add(r)
	}
	return lines.Err()
}
