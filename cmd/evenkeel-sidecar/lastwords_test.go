package main

import (
	"os"
	"path/filepath"
	"testing"
)

// The message of an ended container is written where Kubernetes reads it, and nowhere else.
func TestLastWords(t *testing.T) {
	dir := t.TempDir()
	there, missing := filepath.Join(dir, "there"), filepath.Join(dir, "missing")
	if err := os.WriteFile(there, []byte("an older and longer message"), 0o600); err != nil {
		t.Fatal(err)
	}
	lastWords(there, "2 RPCs were cut off")
	lastWords(missing, "2 RPCs were cut off")
	if got, err := os.ReadFile(there); err != nil || string(got) != "2 RPCs were cut off\n" {
		t.Errorf("got %q and %v", got, err)
	}
	if _, err := os.Stat(missing); !os.IsNotExist(err) {
		t.Errorf("a file was made: %v", err)
	}
}
