package arch

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/evenkeel-go/evenkeel/"

// pkg is what `go list` says of a package.
type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func list(t *testing.T, pattern string) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Deps", pattern)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v", pattern, err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// client-go is 360 to 588 packages, and memory in every process; only who runs on
// Kubernetes shall pay for it.
func TestOnlyKubeImportsClientGo(t *testing.T) {
	for _, p := range list(t, "./...") {
		if strings.HasPrefix(p.ImportPath, module+"peers/kube") {
			continue
		}
		for _, dep := range p.Deps {
			if strings.HasPrefix(dep, "k8s.io/") {
				t.Errorf("%s depends on %s", p.ImportPath, dep)
			}
		}
	}
}

// Arrows point down.
func TestFloors(t *testing.T) {
	allowed := map[string][]string{
		"internal/reason": {},
		"internal/inside": {"internal/peerz"},
		"internal/h2conn": {},
		"internal/plan":   {"internal/reason"},
		"internal/peerz":  {},
		"internal/lookup": {},
		"internal/conf":   {},
		"internal/certs":  {},
		"internal/conns":  {"internal/h2conn", "internal/reason"},
		// for tests of those above it
		"internal/certs/certstest": {"internal/certs"},
		"config":                   {"internal/conf", "internal/lookup"},
		"peers":                    {},
		"peers/static":             {"peers", "internal/lookup"},
		"peers/dns":                {"peers", "internal/lookup"},
		"peers/kube":               {"peers"},
		"internal/peerview":        {"config", "peers", "internal/plan", "internal/peerz"},
		"rebalance": {
			"config", "peers", "peers/dns", "peers/static",
			"internal/inside", "internal/reason", "internal/h2conn", "internal/conns", "internal/plan", "internal/peerz",
			"internal/peerview", "internal/lookup", "internal/certs",
		},
		"serveropts": {"rebalance", "config", "internal/inside"},
		"health":     {"rebalance", "config", "internal/inside", "internal/peerz"},
	}
	for _, p := range list(t, "./...") {
		name := strings.TrimPrefix(p.ImportPath, module)
		may, known := allowed[name]
		if !known {
			if name != "internal/arch" {
				t.Errorf("%s has no floor: give it one here and in docs/design.md", name)
			}
			continue
		}
		for _, imp := range p.Imports {
			if own, ok := strings.CutPrefix(imp, module); ok && !slices.Contains(may, own) {
				t.Errorf("%s must not import %s", name, own)
			}
		}
	}
}

// Planning is pure: no clock of its own, no I/O, no lock.
func TestPlanIsPure(t *testing.T) {
	for _, p := range list(t, "./internal/plan") {
		for _, imp := range p.Imports {
			switch imp {
			case "os", "net", "net/http", "sync", "sync/atomic", "context", "log/slog", "math/rand/v2", "math/rand":
				t.Errorf("%s imports %s", p.ImportPath, imp)
			}
		}
	}
}
