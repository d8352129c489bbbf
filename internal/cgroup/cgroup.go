// Package cgroup finds out how many cores this process may use: the CPU limit of its
// container. It reads cgroup v1 and v2.
package cgroup

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Cores returns the least CPU limit of this process's cgroup and the ancestors that it can
// see, in cores, to the thousandth: Kubernetes has no smaller unit. It returns 0 if there is
// no limit, or if none can be found. root is the root of the file system, "/" but for tests.
func Cores(root string) float64 {
	g, ok := find(root)
	if !ok {
		return 0
	}
	least := math.Inf(1)
	for dir := g.dir; ; dir = filepath.Dir(dir) {
		if cores := g.limit(dir); cores > 0 {
			least = min(least, cores)
		}
		if dir == g.top || len(dir) <= len(g.top) {
			break
		}
	}
	if math.IsInf(least, 1) {
		return 0
	}
	return max(math.Round(least*1000), 1) / 1000
}

// group is the cgroup that limits the CPU of this process.
type group struct {
	v1       bool
	dir, top string // its directory, and that of its highest ancestor that is mounted
}

// find finds this process's cgroup among what is mounted. A container sees its own cgroup, or
// all of them, depending on its cgroup namespace.
func find(root string) (group, bool) {
	path, v1, ok := ownPath(text(root, "proc/self/cgroup"))
	if !ok {
		return group{}, false
	}
	for line := range strings.Lines(text(root, "proc/self/mountinfo")) {
		m, ok := parseMount(line)
		if !ok || !m.has(v1) {
			continue
		}
		if rel, ok := below(path, m.root); ok {
			top := filepath.Join(root, m.point)
			return group{v1: v1, dir: filepath.Join(top, rel), top: top}, true
		}
	}
	return group{}, false
}

// ownPath returns the path of the cgroup with the CPU controller, from /proc/self/cgroup. Where
// both versions are mounted, the controller is in v1 if it is listed there. See cgroups(7).
//
//	4:cpu,cpuacct:/kubepods/pod1    v1
//	0::/kubepods.slice/pod1.slice   v2
func ownPath(lines string) (path string, v1, ok bool) {
	for line := range strings.Lines(lines) {
		part := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		switch {
		case len(part) < 3:
		case hasWord(part[1], "cpu"):
			return part[2], true, true
		case part[0] == "0" && part[1] == "":
			path, ok = part[2], true
		}
	}
	return path, false, ok
}

// mount is a line of /proc/self/mountinfo, see proc_pid_mountinfo(5).
type mount struct{ root, point, kind, options string }

func parseMount(line string) (m mount, ok bool) {
	place, source, ok := strings.Cut(line, " - ")
	before, after := strings.Fields(place), strings.Fields(source)
	if !ok || len(before) < 5 || len(after) < 3 {
		return mount{}, false
	}
	return mount{root: unescape(before[3]), point: unescape(before[4]), kind: after[0], options: after[2]}, true
}

// has reports whether the mount has the CPU controller of that version.
func (m mount) has(v1 bool) bool {
	if v1 {
		return m.kind == "cgroup" && hasWord(m.options, "cpu")
	}
	return m.kind == "cgroup2"
}

// below returns path relative to top. A cgroup outside of what is mounted cannot be read.
func below(path, top string) (rel string, ok bool) {
	if top == "/" {
		return path, !strings.HasPrefix(path, "/..")
	}
	rel, ok = strings.CutPrefix(path, top)
	return rel, ok && (rel == "" || rel[0] == '/')
}

// limit returns the limit of one cgroup in cores, 0 if it has none.
func (g group) limit(dir string) float64 {
	var quota, period string
	if g.v1 {
		quota, period = text(dir, "cpu.cfs_quota_us"), text(dir, "cpu.cfs_period_us")
	} else {
		quota, period, _ = strings.Cut(text(dir, "cpu.max"), " ")
	}
	q, err := strconv.ParseFloat(strings.TrimSpace(quota), 64)
	if err != nil || q <= 0 { // "max" in v2, -1 in v1
		return 0
	}
	p, err := strconv.ParseFloat(strings.TrimSpace(period), 64)
	if cores := q / p; err == nil && cores > 0 && !math.IsInf(cores, 1) {
		return cores
	}
	return 0
}

// text returns the content of a file, empty if it cannot be read.
func text(dir, name string) string {
	b, _ := os.ReadFile(filepath.Join(dir, name)) //nolint:gosec // what the kernel mounts
	return string(b)
}

func hasWord(list, word string) bool {
	for w := range strings.SplitSeq(list, ",") {
		if w == word {
			return true
		}
	}
	return false
}

// unescape undoes the escapes of mountinfo.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace
