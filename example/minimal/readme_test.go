package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The first Go code of the README is part of this very program.
func TestReadmeShowsThisProgram(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```go\n(.*?)```").FindSubmatch(readme)
	if block == nil {
		t.Fatal("README.md has no Go code")
	}
	if !strings.Contains(flat(string(program)), flat(string(block[1]))) {
		t.Errorf("README.md shows\n%s\nwhich is not in example/minimal/main.go", block[1])
	}
}

// What the README says of the rest of the program is there, too.
func TestReadmeNamesTheCalls(t *testing.T) {
	for _, file := range []string{"../../README.md", "main.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range []string{
			"bal.Run(ctx)", "health.ListenAndServe(ctx, ", "srv.Serve(lis)", "bal.Shutdown(context.Background(), srv)",
		} {
			if !strings.Contains(string(text), call) {
				t.Errorf("%s does not have %q", file, call)
			}
		}
	}
}

// flat is code without its indentation.
func flat(code string) string {
	var lines []string
	for line := range strings.Lines(code) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return strings.Join(lines, "\n")
}
