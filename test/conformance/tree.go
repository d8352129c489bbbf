package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/evenkeel-go/evenkeel/test/conformance/tracker"
)

const (
	grpcModule = "google.golang.org/grpc"
	rootModule = "github.com/evenkeel-go/evenkeel"
	thisModule = rootModule + "/test/conformance"
)

// tree is a copy of another module's sources, below .tmp, with evenkeel among its
// requirements. It has to be a copy: the go command lays nothing over the module cache.
// The sources in it stay as they are; only the overlay puts evenkeel under their servers.
type tree struct {
	module  string
	dir     string            // the sources
	overlay string            // the folder of the overlay
	files   map[string]string // the overlay's files and what stands in them
}

// newTree copies a module. replaced are the directories of the modules that it uses in place
// of released ones.
func newTree(at, module, version string, replaced map[string]string) (*tree, error) {
	src, err := download(module, version)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(at, filepath.Base(module)+"@"+version)
	t := &tree{module: module, dir: dir, overlay: dir + ".overlay", files: make(map[string]string)}
	if err := copyTree(t.dir, src); err != nil {
		return nil, err
	}
	return t, t.require(replaced)
}

// grpcTree copies grpc-go in the version that this program was built with.
func (o *options) grpcTree() (*tree, error) {
	version, err := grpcVersion()
	if err != nil {
		return nil, err
	}
	t, err := newTree(o.tmp, grpcModule, version, o.own())
	if err != nil {
		return nil, err
	}
	files, err := hooks(t.dir)
	maps.Copy(t.files, files)
	return t, err
}

// own are the modules of this repository that a tree uses.
func (o *options) own() map[string]string {
	return map[string]string{rootModule: o.root, thisModule: filepath.Join(o.root, "test", "conformance")}
}

// grpcVersion is that of the grpc-go that this program was built with.
func grpcVersion() (string, error) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", errors.New("this program has no build information")
	}
	for _, dep := range info.Deps {
		if dep.Path == grpcModule {
			return dep.Version, nil
		}
	}
	return "", errors.New("this program was built without " + grpcModule)
}

// download returns where the module cache has a module.
func download(module, version string) (string, error) {
	out, err := output("", "mod", "download", "-json", module+"@"+version)
	if err != nil {
		return "", err
	}
	var m struct {
		Dir string `json:"Dir"`
	}
	err = json.Unmarshal(out, &m)
	return m.Dir, err
}

// copyTree replaces dst by a copy of src in which files can be written.
func copyTree(dst, src string) error {
	if err := os.RemoveAll(dst); err != nil {
		return err
	}
	return filepath.WalkDir(src, func(from string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dst, strings.TrimPrefix(from, src))
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		text, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		return os.WriteFile(to, text, 0o644)
	})
}

// require adds modules to the copy's go.mod and their sums to its go.sum.
func (t *tree) require(replaced map[string]string) error {
	args := []string{"mod", "edit"}
	sums, err := os.OpenFile(filepath.Join(t.dir, "go.sum"), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer sums.Close()
	for module, dir := range replaced {
		if module != grpcModule { // which the copy requires by itself
			args = append(args, "-require="+module+"@v0.0.0")
		}
		args = append(args, "-replace="+module+"="+dir)
		text, err := os.ReadFile(filepath.Join(dir, "go.sum"))
		if err != nil {
			return err
		}
		if _, err := sums.Write(text); err != nil {
			return err
		}
	}
	_, err = output(t.dir, args...)
	return err
}

// goArgs are the arguments of go build and go test, bare or tracked.
func (t *tree) goArgs(verb string, kind serverKind) []string {
	args := []string{verb, "-mod=mod"}
	if kind == tracked {
		args = append(args, "-overlay="+filepath.Join(t.overlay, overlayFile))
	}
	return args
}

// prepare writes the overlay, and a folder for the counts of what is tracked.
func (t *tree) prepare() error {
	if err := writeOverlay(t.overlay, t.files); err != nil {
		return err
	}
	return os.Mkdir(t.counts(), 0o755)
}

func (t *tree) counts() string { return filepath.Join(t.overlay, "counts") }

// environ is the environment of the tree's programs. Only the tracked ones write counts.
func (t *tree) environ() []string { return environ(tracker.CountsEnv + "=" + t.counts()) }

// connections returns how many connections were tracked by the processes that were started
// in each folder of the tree, by its import path.
func (t *tree) connections() (map[string]uint64, error) {
	files, err := filepath.Glob(filepath.Join(t.counts(), "*.json"))
	if err != nil {
		return nil, err
	}
	sum := make(map[string]uint64)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if len(text) == 0 {
			continue // this process has had no connection
		}
		var c tracker.Counts
		if err := json.Unmarshal(text, &c); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		rel, err := filepath.Rel(t.dir, c.Dir)
		if err != nil {
			return nil, err
		}
		sum[path.Join(t.module, filepath.ToSlash(rel))] += c.Tracked
	}
	return sum, nil
}

// waitDelay is how long to wait for the output of a command that was stopped: the programs
// that it has started may live on for a while.
const waitDelay = 10 * time.Second

// output runs the go command outside of go.work.
func output(dir string, args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Env = dir, environ()
	out, err := cmd.Output()
	if err == nil {
		return out, nil
	}
	text := string(out)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		text += string(exit.Stderr)
	}
	return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, strings.TrimSpace(text))
}

// environ is the environment of commands: these modules are not part of go.work.
func environ(more ...string) []string { return append(append(os.Environ(), "GOWORK=off"), more...) }
