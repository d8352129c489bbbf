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

// flat is code without its indentation.
func flat(code string) string {
	var lines []string
	for line := range strings.Lines(code) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return strings.Join(lines, "\n")
}
