package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
)

const (
	h2specTimeout = 2 * time.Second // a case waits that long for an answer that does not come
	h2specBound   = 3 * time.Minute // for all cases
	h2specRounds  = 10              // how often cases that differ are repeated
	h2specRaces   = 8               // how many can differ by chance; more are not repeated
)

// h2spec compares the outcome of each case of h2spec on a bare and on a tracked server.
func h2spec(ctx context.Context, o *options) (bool, error) {
	return eachWire(func(w wire) (bool, error) { return h2specOver(ctx, o, w, tracked) })
}

// h2specOver compares a server of one kind with the bare one of its kind.
func h2specOver(ctx context.Context, o *options, w wire, kind serverKind) (bool, error) {
	cases, err := h2specBoth(ctx, w, kind)
	if err != nil {
		return false, err
	}
	different := cases.different()
	for round := 0; len(different) > 0 && len(different) <= h2specRaces && round < h2specRounds; round++ {
		again, err := h2specBoth(ctx, w, kind, different...)
		if err != nil {
			return false, err
		}
		cases.merge(again)
		different = cases.different()
	}
	var report strings.Builder
	defer func() { o.printf("%s", report.String()) }()
	fmt.Fprintf(&report, "%-9s  %d cases; bare: %s; %s: %s; %d different\n",
		w, len(cases[bare]), cases.tally(bare), kind, cases.tally(tracked), len(different))
	for _, id := range different {
		fmt.Fprintf(&report, "DIFFERENT: %s: bare %q, tracked %q\n", id, cases[bare][id], cases[tracked][id])
	}
	for _, id := range cases.racing() {
		fmt.Fprintf(&report, "races: %s: bare %q, tracked %q\n", id, cases[bare][id], cases[tracked][id])
	}
	return len(different) == 0, nil
}

// h2cases are the outcomes of cases, each of which can be run several times. Those of a server
// that is not bare stand under tracked.
type h2cases map[serverKind]map[string][]string

// different are the cases in which the tracked server never did what a bare one does.
func (c h2cases) different() []string {
	var ids []string
	for id, outcomes := range c[bare] {
		if !slices.ContainsFunc(c[tracked][id], func(got string) bool { return slices.Contains(outcomes, got) }) {
			ids = append(ids, id)
		}
	}
	for id := range c[tracked] {
		if c[bare][id] == nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// racing are the cases that were repeated and agree now.
func (c h2cases) racing() []string {
	different := c.different()
	var ids []string
	for id, outcomes := range c[tracked] {
		if len(outcomes) > 1 && !slices.Contains(different, id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// merge adds the outcomes of a repetition.
func (c h2cases) merge(again h2cases) {
	for kind, cases := range again {
		for id, outcomes := range cases {
			c[kind][id] = append(c[kind][id], outcomes...)
		}
	}
}

// tally counts the last outcomes.
func (c h2cases) tally(kind serverKind) string {
	pass, skip := 0, 0
	for _, outcomes := range c[kind] {
		switch outcomes[len(outcomes)-1] {
		case passed:
			pass++
		case skipped:
			skip++
		}
	}
	return fmt.Sprintf("%d passed, %d failed, %d skipped", pass, len(c[kind])-pass-skip, skip)
}

// h2specBoth runs cases on a new bare server and on a new one of another kind, at the same time.
func h2specBoth(ctx context.Context, w wire, other serverKind, ids ...string) (h2cases, error) {
	ctx, cancel := context.WithTimeout(ctx, h2specBound)
	defer cancel()
	cases, errs := make(h2cases), make([]error, 2)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, kind := range []serverKind{bare, tracked} {
		wg.Go(func() {
			on := bareOf(other)
			if kind == tracked {
				on = other
			}
			got, err := h2specOn(ctx, on, w, ids)
			mu.Lock()
			defer mu.Unlock()
			cases[kind], errs[i] = got, err
		})
	}
	wg.Wait()
	return cases, errors.Join(errs...)
}

func h2specOn(ctx context.Context, kind serverKind, w wire, ids []string) (map[string][]string, error) {
	s, err := serve(kind, w)
	if err != nil {
		return nil, err
	}
	got, err := client[map[string]string](ctx, "h2spec", append([]string{s.addr, string(w)}, ids...)...)
	err = errors.Join(err, s.tracks(), s.stop())
	all := make(map[string][]string)
	for id, outcome := range got {
		all[id] = []string{outcome}
	}
	return all, err
}

// h2specChild runs the cases with these ids, all by default, and returns the outcome of each.
func h2specChild(args []string) (any, error) {
	host, text, err := net.SplitHostPort(args[0])
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, err
	}
	c := &config.Config{
		Host: host, Port: port, Path: "/", Timeout: h2specTimeout, MaxHeaderLen: 4000, Strict: true,
		TLS: wire(args[1]) == overTLS, Insecure: true, Sections: args[2:],
	}
	got := make(map[string]string)
	for _, group := range []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()} {
		group.Test(c)
		addResults(got, group)
	}
	return got, nil
}

// addresses differ from run to run.
var addresses = regexp.MustCompile(`\d+\.\d+\.\d+\.\d+:\d+`)

// addResults adds the outcomes of a group's cases. A case that fails has what it saw.
func addResults(got map[string]string, group *spec.TestGroup) {
	for i, test := range append(group.Tests, group.StrictTests...) {
		if test.Result == nil {
			continue
		}
		outcome := passed
		switch {
		case test.Result.Skipped:
			outcome = skipped
		case test.Result.Failed:
			outcome = failed + ": " + addresses.ReplaceAllString(test.Result.Error.Error(), "ADDR")
		}
		got[fmt.Sprintf("%s/%d", group.ID(), i+1)] = outcome
	}
	for _, below := range group.Groups {
		addResults(got, below)
	}
}
