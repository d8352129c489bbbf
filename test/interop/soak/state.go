package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"syscall"
	"time"
)

// state is what the soak has done so far. It outlives the process in a file.
type state struct {
	// Seconds is the time for which the soak has run.
	Seconds float64           `json:"seconds"`
	Commits []*commit         `json:"commits"`
	Rows    map[string]*tally `json:"rows"`
}

// commit is the part that was done with one state of the source code.
type commit struct {
	ID    string `json:"id"`
	Calls int    `json:"calls"`
}

// tally is what one row has done so far.
type tally struct {
	// Versions are those of the client, in the order in which they were used.
	Versions []string `json:"versions"`
	// Why is the reason why calls of this row may fail; empty if none may.
	Why string `json:"why,omitempty"`
	// Seconds is the time that the row was given.
	Seconds int            `json:"seconds"`
	Calls   int            `json:"calls"`
	Failed  int            `json:"failed"`
	GoAways int            `json:"goaways"`
	Errors  map[string]int `json:"errors,omitempty"`
	// Broken is the number of slices that broke a limit, and Breaches describes the first ones.
	Broken   int      `json:"broken"`
	Breaches []breach `json:"breaches,omitempty"`
}

// breach is a slice that broke a limit.
type breach struct {
	Time   time.Time `json:"time"`
	Commit string    `json:"commit"`
	Text   string    `json:"text"`
}

const (
	// maxBreaches is how many breaches of a row are described. One fault can break every slice.
	maxBreaches = 10
	// maxErrors is how many texts of errors a row keeps. The others are counted together.
	maxErrors = 30
	manyMore  = "other errors"
)

// load reads the state of earlier runs. If there were none, it is empty.
func load(path string) (*state, error) {
	st := &state{}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, st); err != nil {
		return nil, fmt.Errorf("%s: %w (RESET=1 starts again)", path, err)
	}
	return st, nil
}

// save replaces the file in one step, so that a crash leaves the old state or the new one.
func (st *state) save(path string) error {
	b, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// lock keeps a second soak away from the state until unlock is called or the process ends.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: another soak is running (%w)", path, err)
	}
	return func() { _ = f.Close() }, nil
}

// begin records the commit with which the soak goes on.
func (st *state) begin(id string) {
	if n := len(st.Commits); n == 0 || st.Commits[n-1].ID != id {
		st.Commits = append(st.Commits, &commit{ID: id})
	}
}

// add counts a slice in which row r called for the given time.
func (st *state) add(r row, length time.Duration, s slice) {
	now := st.Commits[len(st.Commits)-1]
	now.Calls += s.Calls
	t := st.row(r.Name)
	t.Why = r.Why
	if s.Version != "" && !slices.Contains(t.Versions, s.Version) {
		t.Versions = append(t.Versions, s.Version)
	}
	t.Seconds += int(length / time.Second)
	t.Calls += s.Calls
	t.Failed += s.Failed
	t.GoAways += s.GoAways
	for text, n := range s.Errors {
		t.addError(text, n)
	}
	if s.Broken == "" {
		return
	}
	t.Broken++
	if len(t.Breaches) < maxBreaches {
		t.Breaches = append(t.Breaches, breach{time.Now().UTC().Truncate(time.Second), now.ID, s.Broken})
	}
}

// row returns the tally of a row, which it creates if need be.
func (st *state) row(name string) *tally {
	if st.Rows == nil {
		st.Rows = map[string]*tally{}
	}
	if st.Rows[name] == nil {
		st.Rows[name] = &tally{Errors: map[string]int{}}
	}
	return st.Rows[name]
}

// seconds returns the time that a row was given.
func (st *state) seconds(name string) int {
	if t := st.Rows[name]; t != nil {
		return t.Seconds
	}
	return 0
}

// These parts of an error differ from slice to slice.
var (
	address  = regexp.MustCompile(`127\.0\.4\.\d+:\d+`)
	streamID = regexp.MustCompile(`stream ID \d+`)
)

func (t *tally) addError(text string, n int) {
	text = streamID.ReplaceAllString(address.ReplaceAllString(text, "ADDRESS"), "stream ID N")
	if t.Errors == nil {
		t.Errors = map[string]int{}
	}
	if _, known := t.Errors[text]; !known && len(t.Errors) >= maxErrors {
		text = manyMore
	}
	t.Errors[text] += n
}

// sum adds up all rows.
func (st *state) sum() tally { return st.sumOf(func(*tally) bool { return true }) }

// sumOf adds up some rows.
func (st *state) sumOf(wanted func(*tally) bool) tally {
	var all tally
	for _, t := range st.Rows {
		if !wanted(t) {
			continue
		}
		all.Seconds += t.Seconds
		all.Calls += t.Calls
		all.Failed += t.Failed
		all.GoAways += t.GoAways
		all.Broken += t.Broken
	}
	return all
}

func (st *state) broken() int { return st.sum().Broken }

func (st *state) names() []string { return slices.Sorted(maps.Keys(st.Rows)) }
