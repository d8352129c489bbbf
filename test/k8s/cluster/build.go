//go:build linux

package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// kubeVersion must be the version in kube/go.mod. It is set at link time, because the API
// server selects its feature gates by it.
const kubeVersion = "v1.36.3"

// binary is a program to build.
type binary struct {
	name, module, pkg, ldflags string
	// workspace selects the repository's go.work, as `make image` does.
	workspace bool
	// note is printed with the progress, for the person who waits.
	note string
}

func kubeFlags() string {
	minor := strings.Split(kubeVersion, ".")[1]
	var flags strings.Builder
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, v := range [][2]string{
			{"gitVersion", kubeVersion},
			{"gitMajor", "1"},
			{"gitMinor", minor},
			{"gitCommit", strings.Repeat("0", 40)},
			{"gitTreeState", "clean"},
			{"buildDate", "2026-01-01T00:00:00Z"},
		} {
			fmt.Fprintf(&flags, " -X %s.%s=%s", pkg, v[0], v[1])
		}
	}
	return flags.String()
}

// binaries returns what a cluster of the level needs, in the order of building.
func binaries(level Level) []binary {
	all := []binary{{
		name: "kube", module: "test/k8s/kube", pkg: ".", ldflags: kubeFlags(),
		note: ", 7 to 12 minutes the first time",
	}}
	if level == APIOnly {
		return all
	}
	all = append(all,
		binary{name: "helm", module: "test/k8s/helm", pkg: "helm.sh/helm/v4/cmd/helm", note: ", 80 s the first time"},
		binary{name: "image", module: "tools", pkg: "./image"})
	for _, i := range Images {
		all = append(all, binary{
			name: "image-" + i.Program, module: i.Module, pkg: i.Package, workspace: !strings.HasPrefix(i.Module, "test/"),
		})
	}
	return all
}

// built holds the levels that this process has built.
var built struct {
	sync.Mutex
	levels map[Level]bool
}

// Build builds what a cluster of that level needs into .tmp. If little has changed, the Go
// build cache makes it fast. Several processes may call it at the same time.
func Build(level Level, log func(string, ...any)) error {
	if log == nil {
		log = logf
	}
	built.Lock()
	defer built.Unlock()
	if built.levels[level] {
		return nil
	}
	unlock, err := lockOutputs()
	if err != nil {
		return err
	}
	defer unlock()
	begun := time.Now()
	for _, b := range binaries(level) {
		if err := b.build(log); err != nil {
			return fmt.Errorf("building %s: %w", b.name, err)
		}
	}
	if err := linkPrograms(); err != nil {
		return err
	}
	if level == Full {
		for _, i := range Images {
			if err := i.pack(); err != nil {
				return fmt.Errorf("packing %s: %w", i.Tag, err)
			}
		}
	}
	log("built in %.1f s", time.Since(begun).Seconds())
	if built.levels == nil {
		built.levels = map[Level]bool{}
	}
	built.levels[level] = true
	return nil
}

// lockOutputs keeps two test processes from writing the same files.
func lockOutputs() (unlock func(), err error) {
	for _, dir := range []string{binDir(), imageDir()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(filepath.Join(outDir(), "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}

func (b *binary) build(log func(string, ...any)) error {
	begun := time.Now()
	out := filepath.Join(binDir(), b.name)
	if _, err := os.Stat(out); err != nil {
		log("building %s%s", b.name, b.note)
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w"+b.ldflags, "-o", out, b.pkg)
	cmd.Dir = filepath.Join(repository(), b.module)
	workspace := "off"
	if b.workspace {
		workspace = ""
	}
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK="+workspace, "GOFLAGS=")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w\n%s", err, output.Bytes())
	}
	if took := time.Since(begun); took > 5*time.Second {
		log("%s built in %.0f s", b.name, took.Seconds())
	}
	return nil
}

// linkPrograms links the names of all Kubernetes programs to their common binary.
func linkPrograms() error {
	for _, name := range []string{
		"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl",
	} {
		if err := os.Symlink("kube", filepath.Join(binDir(), name)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

func (i *Image) archive() string { return filepath.Join(imageDir(), i.Program+".tar") }

// pack writes the archive, unless the archive is newer than the binary.
func (i *Image) pack() error {
	from := filepath.Join(binDir(), "image-"+i.Program)
	source, err := os.Stat(from)
	if err != nil {
		return err
	}
	if done, err := os.Stat(i.archive()); err == nil && done.ModTime().After(source.ModTime()) {
		return nil
	}
	program := "/" + i.Program
	out, err := exec.Command(filepath.Join(binDir(), "image"), "-o", i.archive(), "-tag", i.Tag,
		"-entrypoint", program, from+"="+program).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// module returns the folder of this module, whichever of its packages runs.
var module = sync.OnceValue(func() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	for from := dir; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "kube", "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			panic("cluster: must run in or below test/k8s, but runs in " + from)
		}
	}
})

func repository() string { return filepath.Join(module(), "..", "..") }
func outDir() string     { return filepath.Join(module(), ".tmp") }
func binDir() string     { return filepath.Join(outDir(), "bin") }
func imageDir() string   { return filepath.Join(outDir(), "images") }

// Bin returns the folder of kubectl and helm.
func (c *Cluster) Bin() string { return binDir() }

// Chart returns the folder of the project's chart.
func Chart() string { return filepath.Join(repository(), "chart") }
