package plan

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

const planningPage = "../../docs/design/planning.md"

var generated = regexp.MustCompile(`(?s)<!-- (transcript: [a-z-]+|constants) -->\n.*?<!-- end -->`)

// The page on planning quotes a transcript as it is stored, and has all times of timing.go.
// Where it differs, go test ./internal/plan -run TestPlanningPage -update writes it again.
func TestPlanningPage(t *testing.T) {
	page, err := os.ReadFile(planningPage)
	if err != nil {
		t.Fatal(err)
	}
	parts := 0
	got := generated.ReplaceAllStringFunc(string(page), func(part string) string {
		parts++
		mark := strings.TrimSuffix(strings.TrimPrefix(strings.SplitN(part, "\n", 2)[0], "<!-- "), " -->")
		text := constantsTable(t)
		if name, ok := strings.CutPrefix(mark, "transcript: "); ok {
			text = "```\n" + stored(t, name) + "```\n"
		}
		return fmt.Sprintf("<!-- %s -->\n%s<!-- end -->", mark, text)
	})
	if parts != 2 {
		t.Errorf("got %d generated parts, want a transcript and the constants", parts)
	}
	if *update {
		if err := os.WriteFile(planningPage, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != string(page) {
		t.Errorf("%s is not what the code is; run go test ./internal/plan -run TestPlanningPage -update", planningPage)
	}
}

// constantsTable has each constant of timing.go, its value and its comment.
func constantsTable(t *testing.T) string {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "timing.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	conf := types.Config{Importer: importer.ForCompiler(fset, "source", nil)}
	pkg, err := conf.Check("plan", fset, []*ast.File{file}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var rows strings.Builder
	rows.WriteString("| constant | value | what it is |\n|---|---|---|\n")
	for _, decl := range file.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		for _, spec := range group.Specs {
			writeConstant(&rows, pkg, spec.(*ast.ValueSpec))
		}
	}
	return rows.String()
}

func writeConstant(rows *strings.Builder, pkg *types.Package, spec *ast.ValueSpec) {
	name := spec.Names[0].Name
	n, _ := constant.Int64Val(pkg.Scope().Lookup(name).(*types.Const).Val())
	what := strings.Join(strings.Fields(spec.Doc.Text()), " ")
	if what = strings.TrimPrefix(what, name+" is "); what == "" {
		what = "see the line above"
	}
	fmt.Fprintf(rows, "| `%s` | %v | %s |\n", name, time.Duration(n), strings.TrimSuffix(what, "."))
}

// The package comment names each file, and none that is gone.
func TestPackageCommentListsTheFiles(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, f := range files {
		if name := f.Name(); strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") && name != "doc.go" {
			names[name] = true
			if !strings.Contains(string(doc), "//\t"+name+" ") {
				t.Errorf("doc.go does not list %s", name)
			}
		}
	}
	for _, name := range regexp.MustCompile(`(?m)^//\t([a-z]+\.go)`).FindAllStringSubmatch(string(doc), -1) {
		if !names[name[1]] {
			t.Errorf("doc.go lists %s, which is gone", name[1])
		}
	}
}
