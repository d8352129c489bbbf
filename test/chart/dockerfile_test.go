package chart

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// The Dockerfile cannot be built without a daemon; that it is one, and that what it makes
// fits the chart's security context, can be read from it.
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
		t.Errorf("%d stages, the last one from %s", len(stages), last.BaseName)
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
	// By number: the kubelet cannot see that a name is not root.
	for _, want := range []string{"user 65532:65532", "entrypoint /server"} {
		if !slices.Contains(all, want) {
			t.Errorf("no %s, only %v", want, all)
		}
	}
}

// Both ways to make the image build the same program.
func TestDockerfileBuildsAsMakeDoes(t *testing.T) {
	build := regexp.MustCompile(`go build (.*) -o `)
	makefile := strings.ReplaceAll(read(t, "../../Makefile"), "$(GO)", "go")
	want := build.FindStringSubmatch(regexp.MustCompile(`cd example .*`).FindString(makefile))
	got := build.FindStringSubmatch(read(t, "../../Dockerfile"))
	if want == nil || got == nil || want[1] != got[1] {
		t.Errorf("Dockerfile builds with %q, make image with %q", got, want)
	}
}
