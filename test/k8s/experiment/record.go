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

// Kind is the kind of a Record.
type Kind string

// The kinds of records, and the fields that they set.
const (
	// Mark is the start of a phase. It sets Phase, and Replicas if the fleet is scaled.
	Mark Kind = "mark"
	// Ready is the content of the EndpointSlices. It sets Addresses: those of the ready pods by
	// name.
	Ready Kind = "ready"
	// DNS is an answer for the headless Service. It sets Addresses: the keys are addresses.
	DNS Kind = "dns"
	// Pod is a server's /statusz. It sets Name and State.
	Pod Kind = "pod"
	// Calls is a client process' report of one interval. It sets Name and Report.
	Calls Kind = "calls"
	// Query is a DNS query of a client process. It sets Name.
	Query Kind = "query"
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

// goaways returns the number of GOAWAYs for all reasons.
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

// Add adds a record.
func (l *Log) Add(r Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, r)
}

// Records returns all records in the order of their times.
func (l *Log) Records() []Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := slices.Clone(l.all)
	slices.SortStableFunc(out, func(a, b Record) int { return a.At.Compare(b.At) })
	return out
}

// Write writes records, one JSON object per line.
func Write(w io.Writer, records []Record) error {
	enc := json.NewEncoder(w)
	for i := range records {
		if err := enc.Encode(&records[i]); err != nil {
			return err
		}
	}
	return nil
}

// Read reads what Write has written.
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

// clientLine is a line of a client's output: a report, or the time of a DNS query in
// milliseconds since 1970.
type clientLine struct {
	fleet.Report

	Query int64 `json:"query"`
}

// AddClient adds the output of a client process. It skips lines that are neither a report nor
// a query, because grpc may log.
func (l *Log) AddClient(name, client string, output io.Reader) error {
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		var line clientLine
		if json.Unmarshal(lines.Bytes(), &line) != nil || line.Total {
			continue
		}
		r := Record{At: time.UnixMilli(cmp.Or(line.Query, line.T)), Fleet: name, Kind: Query, Name: client}
		if line.Query == 0 {
			r.Kind, r.Report = Calls, &line.Report
		}
		l.Add(r)
	}
	return lines.Err()
}
