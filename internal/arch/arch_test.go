package arch

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/evenkeel-go/evenkeel/"
	root   = "../.."
)

// libraryModules are the directories of the modules that adopters import.
var libraryModules = []string{".", "health/metrics", "peers/kube", "serveropts/streams"}

// pkg is a package as `go list` describes it.
type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

// listLibrary lists the packages of all library modules.
func listLibrary(t *testing.T) []pkg {
	t.Helper()
	var all []pkg
	for _, dir := range libraryModules {
		all = append(all, list(t, dir, "./...")...)
	}
	return all
}

// list lists the packages that match pattern in the module in dir. It does not see modules
// below that one.
func list(t *testing.T, dir, pattern string) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Deps", pattern)
	cmd.Dir = filepath.Join(root, dir)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s in %s: %v", pattern, dir, err)
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

// A module that no test lists would escape every rule below.
func TestLibraryModulesAreComplete(t *testing.T) {
	var found []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && rel != "." && strings.HasPrefix(d.Name(), "."), rel == "cmd", rel == "example", rel == "test", rel == "tools":
			return fs.SkipDir // programs and tests
		case d.Name() == "go.mod":
			found = append(found, filepath.ToSlash(filepath.Dir(rel)))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if slices.Sort(found); !slices.Equal(found, libraryModules) {
		t.Errorf("got the modules %v, want %v: list new ones here, in go.work and in the Makefile", found, libraryModules)
	}
}

// client-go is 360 to 588 packages, and memory in every process; Prometheus' client is 16
// packages. Only the programs that use them should pay for them.
func TestHeavyDependenciesStayApart(t *testing.T) {
	for prefix, only := range map[string]string{
		"k8s.io/":                    module + "peers/kube",
		"sigs.k8s.io/":               module + "peers/kube",
		"github.com/prometheus/":     module + "health/metrics",
		"github.com/grpc-ecosystem/": module + "serveropts/streams",
	} {
		for _, p := range listLibrary(t) {
			depends := slices.ContainsFunc(p.Deps, func(dep string) bool { return strings.HasPrefix(dep, prefix) })
			if want := p.ImportPath == only; depends != want {
				t.Errorf("%s depends on %s: got %v, want %v", p.ImportPath, prefix, depends, want)
			}
		}
	}
}

// An adopter's go.sum has a line for each module that the root's go.mod reaches, whether or
// not it is compiled.
func TestPlainAdoptersGoSumHasNoHeavyModules(t *testing.T) {
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(sums)) {
		for _, prefix := range []string{"k8s.io/", "sigs.k8s.io/", "github.com/prometheus/client_golang", "github.com/grpc-ecosystem/"} {
			if strings.HasPrefix(line, prefix) {
				t.Errorf("go.sum of the root module has %s", line)
			}
		}
	}
}

// Packages import only from the floors below them.
func TestFloors(t *testing.T) {
	allowed := map[string][]string{
		"internal/reason": {},
		"internal/inside": {"internal/peerz", "internal/h1conn"},
		"internal/ready":  {},
		"internal/h2conn": {"internal/ready"},
		"internal/h1conn": {"internal/h2conn"},
		"internal/plan":   {"internal/reason"},
		"internal/peerz":  {},
		"internal/lookup": {},
		"internal/conf":   {},
		"internal/certs":  {},
		"internal/cgroup": {},
		"internal/conns":  {"internal/h1conn", "internal/h2conn", "internal/reason"},
		// Only tests of the packages above it import it.
		"internal/certs/certstest": {"internal/certs"},
		"config":                   {"internal/conf", "internal/lookup"},
		"peers":                    {},
		"peers/static":             {"peers", "internal/lookup"},
		"peers/dns":                {"peers", "internal/lookup"},
		"peers/kube":               {"peers", "config"},
		"internal/peerview":        {"config", "peers", "internal/plan", "internal/peerz"},
		"rebalance": {
			"config", "peers", "peers/dns", "peers/static",
			"internal/inside", "internal/reason", "internal/h1conn", "internal/h2conn", "internal/conns", "internal/plan", "internal/peerz",
			"internal/peerview", "internal/lookup", "internal/certs", "internal/cgroup",
		},
		"internal/shown":     {"rebalance", "internal/peerz", "internal/reason"},
		"internal/webconn":   {"internal/inside", "internal/conns", "internal/h1conn"},
		"serveropts":         {"rebalance", "config", "internal/conns", "internal/inside", "internal/webconn"},
		"health":             {"rebalance", "config", "internal/inside", "internal/peerz", "internal/shown"},
		"health/metrics":     {"rebalance", "internal/shown"},
		"serveropts/streams": {"rebalance"},
	}
	for _, p := range listLibrary(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		may, known := allowed[name]
		if !known {
			if name != "internal/arch" {
				t.Errorf("%s has no floor: add it here and in docs/design.md", name)
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

// Planning is pure: it has no clock of its own, no I/O and no lock.
func TestPlanIsPure(t *testing.T) {
	for _, p := range list(t, ".", "./internal/plan") {
		for _, imp := range p.Imports {
			switch imp {
			case "os", "net", "net/http", "sync", "sync/atomic", "context", "log/slog", "math/rand/v2", "math/rand":
				t.Errorf("%s imports %s", p.ImportPath, imp)
			}
		}
	}
}
