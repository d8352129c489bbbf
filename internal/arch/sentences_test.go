package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// spoken are the functions whose text an operator reads, and which argument it is.
// Those of planning are tested as whole sentences, in internal/plan.
var spoken = map[string]int{
	"set": 1, "setAs": 3, "SetCondition": 2, "decided": 2, "onlyIf": 1, "Info": 0, "Warn": 0, "Drain": 1,
}

// labels are log messages that name a kind of line, whose attributes are the sentence.
var labels = []string{"verdict", "decision", "condition", "condition cleared", "configuration"}

var verb = regexp.MustCompile(`\b(is|are|was|were|has|have|does|do|cannot|can|could|may|must|needs?|` +
	`drains?|drained|stops?|serves?|answers?|found|find|find|lists?|changed|take|takes|stay|stays|restarts?|` +
	`loaded|reloaded|connected|closed|ended|failed|waiting|arrive|know)\b`)

// worn are words that the glossary has retired because they had many meanings. They are good
// English elsewhere, so TestRetiredWords cannot look for them, but operators read the terms.
var worn = regexp.MustCompile(`(?i)\b(told|asked|turns?)\b`)

// literal joins the parts of a text that stand in the code.
func literal(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if s, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return s
		}
	case *ast.BinaryExpr:
		return literal(e.X) + literal(e.Y)
	case *ast.CallExpr:
		if len(e.Args) > 0 {
			return literal(e.Args[0]) // fmt.Sprintf
		}
	}
	return ""
}

// Conditions, decisions and log lines are sentences.
func TestOperatorsReadSentences(t *testing.T) {
	files, err := filepath.Glob("../../*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	deeper, _ := filepath.Glob("../../*/*/*.go")
	seen := 0
	for _, name := range append(files, deeper...) {
		if strings.HasSuffix(name, "_test.go") || !strings.HasPrefix(name, "../../rebalance/") && !strings.HasPrefix(name, "../../peers/") &&
			!strings.HasPrefix(name, "../../health/") && !strings.HasPrefix(name, "../../internal/peerview/") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if text := spokenBy(n); text != "" {
				seen++
				if !verb.MatchString(text) {
					t.Errorf("%s: %q is no sentence", name, text)
				}
			}
			if found := worn.FindString(spokenBy(n) + inTable(n)); found != "" {
				t.Errorf("%s: %q is retired by the glossary: %q", name, found, spokenBy(n)+inTable(n))
			}
			return true
		})
	}
	if seen < 20 {
		t.Errorf("%d sentences were found, want all", seen)
	}
}

// inTable returns the text of one field of the tables of conditions and verdicts.
func inTable(n ast.Node) string {
	kv, ok := n.(*ast.KeyValueExpr)
	if !ok {
		return ""
	}
	if key, ok := kv.Key.(*ast.Ident); !ok || !slices.Contains([]string{"Title", "Meaning", "Cure"}, key.Name) {
		return ""
	}
	return literal(kv.Value)
}

// spokenBy returns the text of a call that an operator reads, empty for other nodes and for labels.
func spokenBy(n ast.Node) string {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return ""
	}
	name := ""
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		name = f.Sel.Name
	case *ast.Ident:
		name = f.Name
	}
	at, found := spoken[name]
	if !found || at >= len(call.Args) {
		return ""
	}
	text := literal(call.Args[at])
	if slices.Contains(labels, text) {
		return ""
	}
	return text
}
