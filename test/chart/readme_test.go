package chart

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	yaml3 "go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the table of chart/README.md")

// row is one value with the text of its comment.
type row struct{ key, text, value string }

// documented returns the rows by key.
func documented(t *testing.T) map[string]*row {
	t.Helper()
	out := map[string]*row{}
	for _, r := range tableRows(t) {
		out[r.key] = r
	}
	return out
}

// tableRows returns the values with a comment that begins with "# --", in the order of
// values.yaml.
func tableRows(t *testing.T) []*row {
	t.Helper()
	var doc yaml3.Node
	if err := yaml3.Unmarshal([]byte(read(t, chartDir+"/values.yaml")), &doc); err != nil {
		t.Fatal(err)
	}
	return walk(t, "", doc.Content[0], nil)
}

func walk(t *testing.T, prefix string, node *yaml3.Node, out []*row) []*row {
	t.Helper()
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		key := prefix + name.Value
		_, text, ok := strings.Cut(name.HeadComment, "# -- ")
		switch {
		case ok:
			out = append(out, &row{key, oneLine(text), inline(t, value)})
		case value.Kind == yaml3.MappingNode && len(value.Content) > 0:
			out = walk(t, key+".", value, out)
		default:
			t.Errorf("values.yaml: %s has no comment that begins with \"# -- \"", key)
		}
	}
	return out
}

// oneLine turns a comment into the cell of a table.
func oneLine(text string) string {
	text = strings.ReplaceAll(text, "\n# ", " ")
	return strings.ReplaceAll(text, "|", `\|`)
}

// inline returns a value as JSON on one line.
func inline(t *testing.T, node *yaml3.Node) string {
	t.Helper()
	var v any
	if err := node.Decode(&v); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const (
	tableBegin = "<!-- values -->\n"
	tableEnd   = "<!-- /values -->"
)

// The table in the README must match values.yaml. `make chart UPDATE=1` writes it.
func TestReadmeTable(t *testing.T) {
	var table strings.Builder
	table.WriteString("| value | default | meaning |\n|---|---|---|\n")
	for _, r := range tableRows(t) {
		fmt.Fprintf(&table, "| `%s` | `%s` | %s |\n", r.key, r.value, r.text)
	}
	file := chartDir + "/README.md"
	page := read(t, file)
	before, rest, ok := strings.Cut(page, tableBegin)
	_, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no %s", file, tableBegin)
	}
	want := before + tableBegin + table.String() + tableEnd + after
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if page != want {
		t.Error("chart/README.md: the table does not match values.yaml, run make chart UPDATE=1")
	}
}
