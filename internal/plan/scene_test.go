package plan

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-go/evenkeel/internal/reason"
)

var update = flag.Bool("update", false, "rewrite the transcripts under testdata")

// longestScene is how many lines a transcript may have, so that it is read in one sitting.
const longestScene = 32

// scene writes down what the pods of a fleet decide. After each event it has a line for each
// sentence that comes for the first time; other numbers within a sentence are no news. GOAWAYs
// are summed up. So a transcript is short, and it ends with what each pod shows.
type scene struct {
	*fleet
	from  time.Duration
	lines []string
	shown map[string]string       // what each pod shows
	heard map[string]bool         // sentences since the last event, without numbers
	fresh []string                // this step's new sentences
	pods  map[string][]string     // and the pods that show them
	sent  map[reason.Reason][]int // GOAWAYs since the last line, by the index of the pod
	only  []string                // the pods to write down; nil: all
}

func newScene(f *fleet) *scene {
	s := &scene{fleet: f, from: f.now, shown: map[string]string{}, heard: map[string]bool{}, pods: map[string][]string{}, sent: map[reason.Reason][]int{}}
	f.hook = s.see
	return s
}

// short is the last part of a pod's address, with a mark for those that replace others.
func short(pod string) string {
	name := strings.TrimLeft(pod[strings.LastIndex(pod, ".")+1:], "0")
	if strings.HasPrefix(pod, "10.0.1.") {
		name += "'"
	}
	return name
}

var digits = regexp.MustCompile(`[0-9.]+(ms|s|m|h)?`)

func (s *scene) see(pod string, st *Step) {
	for _, d := range st.Drains {
		i := slices.Index(s.fleet.pods, pod)
		if s.sent[d.Reason] == nil {
			s.sent[d.Reason] = make([]int, 64)
		}
		s.sent[d.Reason][i]++
	}
	if s.only != nil && !slices.Contains(s.only, short(pod)) {
		return
	}
	line := fmt.Sprintf("%-13s  %s", st.Verdict, st.Why)
	s.shown[pod] = line
	if bare := digits.ReplaceAllString(line, ""); s.heard[bare] && s.pods[line] == nil {
		return
	} else if !s.heard[bare] {
		s.heard[bare] = true
		s.fresh = append(s.fresh, line)
	}
	s.pods[line] = append(s.pods[line], short(pod))
}

// play lets all pods plan for a while, and writes down what they decide.
func (s *scene) play(d time.Duration) {
	for end := s.now + d; s.now < end; {
		s.step(100 * time.Millisecond)
		if len(s.fresh) > 0 {
			s.drains()
		}
		for _, line := range s.fresh {
			s.write(strings.Join(s.pods[line], " "), line)
		}
		s.fresh, s.pods = nil, map[string][]string{}
	}
}

// drains sums up the GOAWAYs since the last line, pod by pod.
func (s *scene) drains() {
	for _, r := range reason.All() {
		var pods, each []string
		sum := 0
		for i, n := range s.sent[r] {
			if sum += n; n > 0 {
				pods, each = append(pods, short(s.fleet.pods[i])), append(each, fmt.Sprint(n))
			}
		}
		if sum > 0 {
			s.write(strings.Join(pods, " "), fmt.Sprintf("> %s %s for %s", strings.Join(each, " + "), many(sum, "GOAWAY", "GOAWAYs"), r))
		}
	}
	clear(s.sent)
}

func many(n int, one, more string) string {
	if n == 1 {
		return one
	}
	return more
}

func (s *scene) write(who, line string) {
	s.lines = append(s.lines, fmt.Sprintf("%8s  %-7s  %s", (s.now-s.from).Round(100*time.Millisecond), who, line))
}

// say writes down what happens to the fleet.
func (s *scene) say(format string, args ...any) {
	s.drains()
	clear(s.heard)
	s.lines = append(s.lines, fmt.Sprintf("%8s  -- %s", (s.now-s.from).Round(100*time.Millisecond), fmt.Sprintf(format, args...)))
}

// result writes down what each pod shows, and how many connections each has.
func (s *scene) result() {
	s.drains()
	var each, lines []string
	byLine := map[string][]string{}
	for _, pod := range s.fleet.pods {
		line := s.shown[pod]
		if byLine[line] == nil && line != "" {
			lines = append(lines, line)
		}
		byLine[line] = append(byLine[line], short(pod))
	}
	for _, line := range lines {
		s.write(strings.Join(byLine[line], " "), "= "+line)
	}
	for _, pod := range s.fleet.pods {
		each = append(each, fmt.Sprint(len(s.conns[pod])))
	}
	s.say("connections: %s; %s in all", strings.Join(each, " "), plural(len(s.sentAt), "GOAWAY", "GOAWAYs"))
}

// check compares the transcript with the stored one.
func (s *scene) check(t *testing.T, title string) {
	t.Helper()
	if len(s.lines) > longestScene {
		t.Errorf("got %d lines, want %d at most:\n%s", len(s.lines), longestScene, strings.Join(s.lines, "\n"))
	}
	_, name, _ := strings.Cut(t.Name(), "/")
	file := filepath.Join("testdata", name+".txt")
	got := title + "\n\n" + strings.Join(s.lines, "\n") + "\n"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v: run go test ./internal/plan -run TestTranscripts -update", err)
	}
	if got != string(want) {
		t.Errorf("got\n%swant\n%srun go test ./internal/plan -run TestTranscripts -update, and read what has changed", got, want)
	}
}

// storedTranscripts are the names of the stored transcripts.
func storedTranscripts(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("got %d transcripts (%v), want some", len(files), err)
	}
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".txt"))
	}
	return names
}

func stored(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
