package fleet

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Report is what a client saw in one interval, or in all of them.
type Report struct {
	// T is when the interval began, in milliseconds since 1970.
	T int64 `json:"t"`
	// Calls counts answers by pod.
	Calls map[string]int `json:"calls"`
	// Failures counts failed RPCs. Errors counts the same RPCs by error text
	// ("Unavailable: ...").
	Failures int            `json:"failures"`
	Errors   map[string]int `json:"errors"`
	// Skipped counts calls that were due but not made, because too many were in
	// flight.
	Skipped int `json:"skipped"`
	// Opened counts the connections that were opened.
	Opened int `json:"opened"`
	// Total marks the last report, which is the sum of all others.
	Total bool `json:"total"`
}

// ClientSpec describes a client to start. Command and Target are required.
type ClientSpec struct {
	// Command runs example/client; flags are appended to it.
	Command []string
	// Target is its gRPC target.
	Target string
	// Channels is the number of channels, and Rate the calls per second over all of
	// them. 0 means the client's defaults, 1 and 100.
	Channels int
	Rate     float64
	// Source is the IP address that it connects from. If it is empty, the system
	// chooses.
	Source string
	// Every is the interval of its reports. 0 means one second.
	Every time.Duration
	// Args are further flags.
	Args []string
	// OnReport is called with each report, from one goroutine. It is required.
	OnReport func(Report)
	// Log is called with each line that it writes to stderr. It may be nil.
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
