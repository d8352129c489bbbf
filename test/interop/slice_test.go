//go:build interop

package interop

import (
	"encoding/json"
	"os"
	"slices"
	"testing"
)

// TestSlice runs one row of either table, $INTEROP_ROW, for the soak. Without one it lists them.
// It writes its report as JSON to the file $INTEROP_REPORT.
func TestSlice(t *testing.T) {
	report := os.Getenv("INTEROP_REPORT")
	if report == "" {
		t.Skip("INTEROP_REPORT is not set")
	}
	all := slices.Concat(rows(), longRows())
	name := os.Getenv("INTEROP_ROW")
	if name == "" {
		writeReport(t, report, listed(t, all))
		return
	}
	i := slices.IndexFunc(all, func(r row) bool { return r.name == name })
	if i < 0 {
		t.Fatalf("there is no row %q", name)
	}
	r := all[i]
	r.half, r.long = false, false // each row gets the same time
	o := r.run(t)
	writeReport(t, report, map[string]any{
		"version": o.Version, "calls": o.Calls, "failed": o.Failed, "errors": o.Errors, "goaways": o.GoAways,
	})
}

// listed describes the rows. Their names must differ, because the soak knows them by name.
func listed(t *testing.T, all []row) (list []map[string]any) {
	seen := map[string]bool{}
	for _, r := range all {
		if seen[r.name] {
			t.Errorf("two rows have the name %q", r.name)
		}
		seen[r.name] = true
		// h2load must not be delayed, see TestInterop.
		list = append(list, map[string]any{"name": r.name, "why": r.why, "alone": r.drive != nil})
	}
	return list
}

func writeReport(t *testing.T, path string, report any) {
	t.Helper()
	b, err := json.Marshal(report)
	if err == nil {
		err = os.WriteFile(path, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
