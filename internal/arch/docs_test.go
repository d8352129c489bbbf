package arch

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// public are the packages that a user imports.
var public = []string{
	"config", "health", "health/metrics", "peers", "peers/dns", "peers/kube", "peers/static", "rebalance", "serveropts",
	"serveropts/streams",
}

// Methods whose meaning an interface of everybody's gives.
var wellKnown = []string{"Error", "String", "Unwrap", "Describe", "Collect"}

// parsed returns a package's documentation and the names of its examples that have an output.
func parsed(t *testing.T, dir string) (*doc.Package, map[string]bool) {
	t.Helper()
	fset := token.NewFileSet()
	names, err := filepath.Glob(filepath.Join("../..", dir, "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %v, %v", dir, names, err)
	}
	var files, tests []*ast.File
	for _, name := range names {
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "_test.go") {
			tests = append(tests, f)
		} else {
			files = append(files, f)
		}
	}
	examples := map[string]bool{}
	for _, e := range doc.Examples(tests...) {
		name, _, _ := strings.Cut(e.Name, "_")
		if method := strings.SplitN(e.Name, "_", 3); len(method) > 1 && ast.IsExported(method[1]) {
			name += "." + method[1]
		}
		examples[name] = examples[name] || e.Output != "" || e.EmptyOutput
	}
	p, err := doc.NewFromFiles(fset, files, module+dir)
	if err != nil {
		t.Fatal(err)
	}
	return p, examples
}

// Every function that a user calls has an example that runs.
func TestPublicFunctionsHaveExamples(t *testing.T) {
	for _, dir := range public {
		p, examples := parsed(t, dir)
		want := func(name string) {
			if !examples[name] {
				t.Errorf("%s.%s has no example with an output", dir, name)
			}
		}
		for _, f := range p.Funcs {
			want(f.Name)
		}
		for _, typ := range p.Types {
			for _, f := range typ.Funcs {
				want(f.Name)
			}
			for _, m := range typ.Methods {
				name := typ.Name + "." + m.Name
				if !slices.Contains(wellKnown, m.Name) && name != "Source.Run" {
					want(name)
				}
			}
		}
	}
}

// Every exported name has a documentation that begins with it; names of one group may
// share that of the group.
func TestExportedNamesAreDocumented(t *testing.T) {
	for _, dir := range public {
		p, _ := parsed(t, dir)
		if !strings.HasPrefix(p.Doc, "Package "+p.Name+" ") {
			t.Errorf("%s: the package's documentation begins with %.40q", dir, p.Doc)
		}
		check := func(name, text string) {
			if !strings.HasPrefix(text, name+" ") && !strings.HasPrefix(text, name+",") && !strings.HasPrefix(text, "A "+name+" ") && !strings.HasPrefix(text, "An "+name+" ") {
				t.Errorf("%s.%s: its documentation begins with %.40q", dir, name, text)
			}
		}
		funcs := func(all []*doc.Func) {
			for _, f := range all {
				check(f.Name, f.Doc)
			}
		}
		values := func(all []*doc.Value) {
			for _, v := range all {
				switch {
				case len(v.Decl.Specs) == 1:
					check(v.Names[0], v.Doc)
				case v.Doc == "":
					for _, spec := range v.Decl.Specs {
						one := spec.(*ast.ValueSpec)
						check(one.Names[0].Name, one.Doc.Text())
					}
				}
			}
		}
		funcs(p.Funcs)
		values(p.Consts)
		values(p.Vars)
		for _, typ := range p.Types {
			check(typ.Name, typ.Doc)
			funcs(typ.Funcs)
			funcs(typ.Methods)
			values(typ.Consts)
			values(typ.Vars)
		}
	}
}

// The prose of the documentation is short: no paragraph of more than five lines.
func TestProseIsShort(t *testing.T) {
	pages := []string{"README.md", "CONTRIBUTING.md", "SECURITY.md", "chart/README.md"}
	for _, pattern := range []string{"../../docs/*.md", "../../docs/*/*.md"} {
		docs, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, page := range docs {
			pages = append(pages, strings.TrimPrefix(page, "../../"))
		}
	}
	for _, page := range pages {
		text, err := os.ReadFile(filepath.Join("../..", page))
		if err != nil {
			t.Fatal(err)
		}
		for _, paragraph := range paragraphs(string(text)) {
			lines := strings.Split(paragraph, "\n")
			if len(lines) > 5 {
				t.Errorf("%s: a paragraph of %d lines: %.60q", page, len(lines), paragraph)
			}
			for _, line := range lines {
				if len([]rune(line)) > 160 {
					t.Errorf("%s: a line of %d characters: %.60q", page, len([]rune(line)), line)
				}
			}
		}
	}
}

// paragraphs returns the prose of a page: no code, tables, headings or lists, of which each
// item is a paragraph of its own.
func paragraphs(text string) []string {
	var out []string
	var now []string
	end := func() {
		if len(now) > 0 {
			out = append(out, strings.Join(now, "\n"))
		}
		now = nil
	}
	code := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(trimmed, "```"):
			end()
			code = !code
		case code, trimmed == "", strings.HasPrefix(line, "    "), strings.ContainsAny(trimmed[:1], "|#<!"):
			end()
		case strings.HasPrefix(trimmed, "- "), strings.HasPrefix(trimmed, "* "), strings.HasPrefix(trimmed, "> "), trimmed[0] >= '0' && trimmed[0] <= '9' && strings.Contains(trimmed, ". "):
			end()
			now = append(now, trimmed)
		default:
			now = append(now, trimmed)
		}
	}
	end()
	return out
}
