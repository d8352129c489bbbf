package chart

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// images are the Dockerfiles, with what the image runs and the folder that `make image` builds.
var images = []struct{ file, entrypoint, built string }{
	{"../../Dockerfile", "/server -introspection=false", "example"},
	{"../../cmd/evenkeel-sidecar/Dockerfile", "/evenkeel-sidecar", "cmd/evenkeel-sidecar"},
}

// Building a Dockerfile needs a daemon. Without one, this test parses it and checks that the
// image fits the chart's security context.
func TestDockerfile(t *testing.T) {
	for _, image := range images {
		file, err := parser.Parse(strings.NewReader(read(t, image.file)))
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
			t.Errorf("%s: got %d stages, the last from %s, want 2, the last from scratch", image.file, len(stages), last.BaseName)
		}
		// The user is a number, because the kubelet cannot verify that a name is not root.
		for _, want := range []string{"user 65532:65532", "entrypoint " + image.entrypoint} {
			if all := described(&last); !slices.Contains(all, want) {
				t.Errorf("%s: the image has %v, want %s", image.file, all, want)
			}
		}
	}
}

func described(stage *instructions.Stage) (all []string) {
	for _, c := range stage.Commands {
		switch c := c.(type) {
		case *instructions.UserCommand:
			all = append(all, "user "+c.User)
		case *instructions.EntrypointCommand:
			all = append(all, "entrypoint "+strings.Join(c.CmdLine, " "))
		}
	}
	return all
}

// The Dockerfiles and `make image` must build the programs with the same flags.
func TestDockerfileBuildsAsMakeDoes(t *testing.T) {
	build := regexp.MustCompile(`go build (.*) -o `)
	makefile := strings.ReplaceAll(read(t, "../../Makefile"), "$(GO)", "go")
	for _, image := range images {
		want := build.FindStringSubmatch(regexp.MustCompile(`cd ` + image.built + ` && CGO.*`).FindString(makefile))
		got := build.FindStringSubmatch(read(t, image.file))
		if want == nil || got == nil || want[1] != got[1] {
			t.Errorf("%s builds with %q, make image with %q", image.file, got, want)
		}
	}
}
