package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

// files are the files below a root, by name.
type files map[string]string

func (f files) root(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range f {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const (
	mountV2 = "25 20 0:22 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
	mountV1 = "30 25 0:26 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n" +
		"31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:5 - cgroup cgroup rw,cpu,cpuacct\n"
)

func TestCores(t *testing.T) {
	for name, tc := range map[string]struct {
		files files
		want  float64
	}{
		"no files at all": {files{}, 0},
		"v2, a namespace of its own, as in Kubernetes": {files{
			"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": mountV2,
			"sys/fs/cgroup/cpu.max": "200000 100000\n",
		}, 2},
		"v2, no limit": {files{
			"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": mountV2,
			"sys/fs/cgroup/cpu.max": "max 100000\n",
		}, 0},
		"v2, nested: the least counts": {files{
			"proc/self/cgroup": "0::/kubepods.slice/pod1.slice/app.scope\n", "proc/self/mountinfo": mountV2,
			"sys/fs/cgroup/kubepods.slice/cpu.max":                      "6400000 100000\n",
			"sys/fs/cgroup/kubepods.slice/pod1.slice/cpu.max":           "150000 100000\n",
			"sys/fs/cgroup/kubepods.slice/pod1.slice/app.scope/cpu.max": "max 100000\n",
			"sys/fs/cgroup/kubepods.slice/pod2.slice/cpu.max":           "1000 100000\n",
			"sys/fs/cgroup/kubepods.slice/pod1.slice/sibling/cpu.max":   "1000 100000\n",
		}, 1.5},
		"v2, the mount shows a part of the tree": {files{
			"proc/self/cgroup":      "0::/kubepods/pod1/app\n",
			"proc/self/mountinfo":   "25 20 0:22 /kubepods/pod1 /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
			"sys/fs/cgroup/cpu.max": "400000 100000", "sys/fs/cgroup/app/cpu.max": "50000 100000",
			"sys/fs/cpu.max": "1000 100000", // above the mount
		}, 0.5},
		"v2, outside the namespace": {files{
			"proc/self/cgroup": "0::/../pod2\n", "proc/self/mountinfo": mountV2, "sys/fs/cgroup/cpu.max": "100000 100000\n",
		}, 0},
		"v2, outside the mount": {files{
			"proc/self/cgroup":      "0::/kubepods/pod10\n",
			"proc/self/mountinfo":   "25 20 0:22 /kubepods/pod1 /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
			"sys/fs/cgroup/cpu.max": "100000 100000\n",
		}, 0},
		"v2, a third of a core": {files{
			"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": mountV2, "sys/fs/cgroup/cpu.max": "100000 300000\n",
		}, 0.333},
		"v2, next to nothing": {files{
			"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": mountV2, "sys/fs/cgroup/cpu.max": "1 1000000\n",
		}, 0.001},
		"v2, not a number": {files{
			"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": mountV2, "sys/fs/cgroup/cpu.max": "many 100000\n",
		}, 0},
		"v2, no period": {files{
			"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": mountV2, "sys/fs/cgroup/cpu.max": "100000 0\n",
		}, 0},
		"v1": {files{
			"proc/self/cgroup": "5:cpuset:/other\n4:cpu,cpuacct:/kubepods/pod1\n", "proc/self/mountinfo": mountV1,
			"sys/fs/cgroup/cpu,cpuacct/kubepods/pod1/cpu.cfs_quota_us":  "250000\n",
			"sys/fs/cgroup/cpu,cpuacct/kubepods/pod1/cpu.cfs_period_us": "100000\n",
			"sys/fs/cgroup/cpu,cpuacct/kubepods/cpu.cfs_quota_us":       "-1\n",
			"sys/fs/cgroup/cpu,cpuacct/kubepods/cpu.cfs_period_us":      "100000\n",
		}, 2.5},
		"v1, no limit": {files{
			"proc/self/cgroup": "4:cpu,cpuacct:/\n", "proc/self/mountinfo": mountV1,
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us":  "-1\n",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
		}, 0},
		"v1 without a namespace, as in Docker": {files{
			"proc/self/cgroup":                        "4:cpuacct,cpu:/docker/abc\n",
			"proc/self/mountinfo":                     `31 25 0:27 /docker/abc /sys/fs/cgroup/cpu\040set ro - cgroup cgroup rw,cpuacct,cpu` + "\n",
			"sys/fs/cgroup/cpu set/cpu.cfs_quota_us":  "300000",
			"sys/fs/cgroup/cpu set/cpu.cfs_period_us": "100000",
		}, 3},
		"both versions: the one with the controller": {files{
			"proc/self/cgroup": "4:cpu:/a:b\n0::/x\n", "proc/self/mountinfo": mountV2 + mountV1,
			"sys/fs/cgroup/x/cpu.max":                        "700000 100000\n",
			"sys/fs/cgroup/cpu,cpuacct/a:b/cpu.cfs_quota_us": "100000\n", "sys/fs/cgroup/cpu,cpuacct/a:b/cpu.cfs_period_us": "100000\n",
		}, 1},
		"lines that mean nothing": {files{
			"proc/self/cgroup": "\n4:cpu\n0::/\n", "proc/self/mountinfo": "\n1 2 3\n - cgroup2\n" + mountV2,
			"sys/fs/cgroup/cpu.max": "100000 100000\n",
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Cores(tc.files.root(t)); got != tc.want {
				t.Errorf("%v cores, want %v", got, tc.want)
			}
		})
	}
}

// On the machine itself the files are what they are: the answer is a number that a pod can
// report.
func TestCoresOfThisProcess(t *testing.T) {
	if got := Cores("/"); got < 0 || got > 100_000 {
		t.Errorf("%v cores", got)
	}
}

func FuzzFiles(f *testing.F) {
	f.Add("0::/a/b", mountV2, "200000 100000")
	f.Add("4:cpu:/a", mountV1, "max")
	f.Add("0::/../x", "1 2 3 /.. /sys/../../x rw - cgroup2 a b", "1e300 1e-300")
	f.Fuzz(func(t *testing.T, own, info, limit string) {
		root := files{"proc/self/cgroup": own, "proc/self/mountinfo": info, "sys/fs/cgroup/cpu.max": limit}.root(t)
		if got := Cores(root); !(got >= 0) {
			t.Errorf("%v cores", got)
		}
	})
}
