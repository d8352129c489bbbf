package fleet

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Report is what a client saw in one interval, or in all of its life.
type Report struct {
	// T is when the interval began, in milliseconds since 1970.
	T int64 `json:"t"`
	// Calls counts answers by pod.
	Calls map[string]int `json:"calls"`
	// Failures counts failed RPCs, Errors the same by text ("Unavailable: ...").
	Failures int            `json:"failures"`
	Errors   map[string]int `json:"errors"`
	// Skipped counts calls that were due but not begun.
	Skipped int `json:"skipped"`
	// Opened counts connections made.
	Opened int `json:"opened"`
	// Total marks the last report: the sum of all.
	Total bool `json:"total"`
}

// ClientSpec says how to start a client. Command and Target are required.
type ClientSpec struct {
	// Command runs example/client; the flags are put behind it.
	Command []string
	// Target is its gRPC target.
	Target string
	// Channels and Rate (calls a second over all channels). 0: the client's
	// defaults, 1 and 100.
	Channels int
	Rate     float64
	// Source is the IP that it connects from. Empty: the system chooses.
	Source string
	// Every is the interval of its reports. 0: a second.
	Every time.Duration
	// Args are further flags.
	Args []string
	// OnReport is given each report, from one goroutine. Required.
	OnReport func(Report)
	// Log is given each line it writes to stderr. Nil: none.
	Log func(line string)
}

// StartClient starts a client that runs until it is stopped.
func StartClient(spec ClientSpec) (*Proc, error) {
	argv := append([]string{}, spec.Command...)
	argv = append(argv, "-target", spec.Target, "-json", "-duration", "0")
	if spec.Channels > 0 {
		argv = append(argv, "-channels", strconv.Itoa(spec.Channels))
	}
	if spec.Rate > 0 {
		argv = append(argv, "-rate", fmt.Sprint(spec.Rate))
	}
	if spec.Source != "" {
		argv = append(argv, "-source", spec.Source)
	}
	if spec.Every > 0 {
		argv = append(argv, "-every", spec.Every.String())
	}
	return Start(append(argv, spec.Args...), nil, func(line string) {
		var r Report
		if json.Unmarshal([]byte(line), &r) == nil {
			spec.OnReport(r)
		}
	}, spec.Log)
}
