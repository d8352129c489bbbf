//go:build linux

package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const cgroupRoot = "/sys/fs/cgroup"

// controllers that the kubelet needs.
var controllers = []string{"cpu", "cpuset", "memory", "pids"}

// unified tells cgroup v2 from v1.
func unified() bool {
	_, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers"))
	return err == nil
}

// hierarchies are all mounted ones: a single one in v2, one for each controller in
// v1, and beside them, maybe, one of v2 without controllers.
func hierarchies() ([]string, error) {
	if unified() {
		return []string{cgroupRoot}, nil
	}
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return nil, fmt.Errorf("no cgroups: %w", err)
	}
	var all []string
	for _, e := range entries {
		dir := filepath.Join(cgroupRoot, e.Name())
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil && e.IsDir() {
			all = append(all, dir)
		}
	}
	return all, nil
}

// CheckCgroups says what is missing for a node, nil if nothing is.
func CheckCgroups() error {
	if unified() {
		content, err := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.controllers"))
		if err != nil {
			return err
		}
		return missing(strings.Fields(string(content)))
	}
	dirs, err := hierarchies()
	if err != nil {
		return err
	}
	var names []string
	for _, dir := range dirs {
		names = append(names, strings.Split(filepath.Base(dir), ",")...)
	}
	return missing(names)
}

func missing(have []string) error {
	var errs []error
	for _, c := range controllers {
		if !slices.Contains(have, c) {
			errs = append(errs, fmt.Errorf("no cgroup controller %s", c))
		}
	}
	return errors.Join(errs...)
}

// makeCgroup makes NAME/sys and NAME/pods in each hierarchy, and moves this process
// into NAME/sys.
func makeCgroup(name string) error {
	dirs, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range dirs {
		for _, group := range []string{"", "sys", "pods"} {
			if err := makeGroup(root, filepath.Join(name, group)); err != nil {
				return err
			}
		}
		if err := enter(filepath.Join(root, name, "sys")); err != nil {
			return err
		}
	}
	return nil
}

func makeGroup(root, group string) error {
	dir := filepath.Join(root, group)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if unified() {
		return delegate(filepath.Dir(dir))
	}
	// A new group of v1 may use no CPU and no memory node until it is told which.
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), value, 0); err != nil {
			return err
		}
	}
	return nil
}

// delegate lets the groups below dir use the controllers (v2).
func delegate(dir string) error {
	enable := "+" + strings.Join(controllers, " +")
	if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte(enable), 0); err != nil {
		return fmt.Errorf("cgroup v2 gives its controllers to no group below %s: %w", dir, err)
	}
	return nil
}

func enter(dir string) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0)
}

// leaveCgroup moves this process to the roots, so that its groups can be removed.
func leaveCgroup() error {
	dirs, err := hierarchies()
	for _, root := range dirs {
		err = errors.Join(err, enter(root))
	}
	return err
}

// removeWithin bounds how long processes that were killed may take to be gone.
const removeWithin = 5 * time.Second

// removeCgroup removes the group from each hierarchy, the deepest first. It is no
// error if it is not there.
func removeCgroup(name string) error {
	dirs, err := hierarchies()
	for _, root := range dirs {
		err = errors.Join(err, removeGroup(filepath.Join(root, name)))
	}
	return err
}

func removeGroup(dir string) error {
	var groups []string
	walk := func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			groups = append(groups, path)
		}
		return nil
	}
	_ = filepath.WalkDir(dir, walk)
	slices.Reverse(groups)
	for _, group := range groups {
		if err := removeSoon(group); err != nil {
			return err
		}
	}
	return nil
}

// removeSoon tries again while the kernel has not yet let go of the processes.
func removeSoon(group string) error {
	deadline := time.Now().Add(removeWithin)
	for {
		err := syscall.Rmdir(group)
		if err == nil || errors.Is(err, syscall.ENOENT) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: %w", group, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
