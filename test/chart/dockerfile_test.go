package chart

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// Building the Dockerfile needs a daemon. Without one, this test parses it and checks that the
// image fits the chart's security context.
func TestDockerfile(t *testing.T) {
	file, err := parser.Parse(strings.NewReader(read(t, "../../Dockerfile")))
	if err != nil {
		t.Fatal(err)
	}
	if len(file.Warnings) > 0 {
		t.Error(file.Warnings)
	}
	stages, _, err := instructions.Parse(file.AST, nil)
	if err != nil {
		t.Fatal(err)
	}
	last := stages[len(stages)-1]
	if len(stages) != 2 || last.BaseName != "scratch" {
		t.Errorf("got %d stages, the last from %s, want 2, the last from scratch", len(stages), last.BaseName)
	}
	var all []string
	for _, c := range last.Commands {
		switch c := c.(type) {
		case *instructions.UserCommand:
			all = append(all, "user "+c.User)
		case *instructions.EntrypointCommand:
			all = append(all, "entrypoint "+strings.Join(c.CmdLine, " "))
		}
	}
	// The user is a number, because the kubelet cannot verify that a name is not root.
	for _, want := range []string{"user 65532:65532", "entrypoint /server -introspection=false"} {
		if !slices.Contains(all, want) {
			t.Errorf("the image has %v, want %s", all, want)
		}
	}
}

// The Dockerfile and `make image` must build the program with the same flags.
func TestDockerfileBuildsAsMakeDoes(t *testing.T) {
	build := regexp.MustCompile(`go build (.*) -o `)
	makefile := strings.ReplaceAll(read(t, "../../Makefile"), "$(GO)", "go")
	want := build.FindStringSubmatch(regexp.MustCompile(`cd example .*`).FindString(makefile))
	got := build.FindStringSubmatch(read(t, "../../Dockerfile"))
	if want == nil || got == nil || want[1] != got[1] {
		t.Errorf("Dockerfile builds with %q, make image with %q", got, want)
	}
}
