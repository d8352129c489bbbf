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

// controllers are the cgroup controllers that the kubelet needs.
var controllers = []string{"cpu", "cpuset", "memory", "pids"}

// unified reports whether the machine uses cgroup v2.
func unified() bool {
	_, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers"))
	return err == nil
}

// hierarchies returns the mounted hierarchies. v2 has a single one. v1 has one per controller,
// and maybe another of v2 without controllers.
func hierarchies() ([]string, error) {
	if unified() {
		return []string{cgroupRoot}, nil
	}
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return nil, fmt.Errorf("cannot list the cgroups: %w", err)
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

// CheckCgroups returns an error that names the controllers that are missing, nil if none is.
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
			errs = append(errs, fmt.Errorf("the cgroup controller %s is missing", c))
		}
	}
	return errors.Join(errs...)
}

// makeCgroup creates NAME/sys and NAME/pods in each hierarchy, and moves this process into
// NAME/sys.
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
	// A new group of v1 may use no CPU and no memory node until these files name some.
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

// delegate enables the controllers for the groups below dir (v2).
func delegate(dir string) error {
	enable := "+" + strings.Join(controllers, " +")
	if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte(enable), 0); err != nil {
		return fmt.Errorf("cgroup v2: cannot enable controllers below %s: %w", dir, err)
	}
	return nil
}

func enter(dir string) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0)
}

// leaveCgroup moves this process to the root groups, so that its own can be removed.
func leaveCgroup() error {
	dirs, err := hierarchies()
	for _, root := range dirs {
		err = errors.Join(err, enter(root))
	}
	return err
}

// removeWithin bounds how long killed processes may take to disappear.
const removeWithin = 5 * time.Second

// removeCgroup removes the group from each hierarchy, the deepest level first. A group that
// does not exist is not an error.
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

// removeSoon removes a group. It tries again while the kernel still holds its processes.
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
