package main

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func packed(t *testing.T, out string) *options {
	t.Helper()
	dir := t.TempDir()
	program, data := filepath.Join(dir, "server"), filepath.Join(dir, "data")
	for name, mode := range map[string]os.FileMode{program: 0o700, data: 0o600} {
		if err := os.WriteFile(name, []byte(filepath.Base(name)), mode); err != nil {
			t.Fatal(err)
		}
	}
	o, err := parse([]string{
		"-o", out, "-tag", "test.local/server:dev", "-arch", "amd64",
		"-entrypoint", "/server", "-cmd", "-grpc", "-cmd", ":50051",
		program + "=/server", data + "=/opt/x/data",
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return &o
}

func TestPack(t *testing.T) {
	out := filepath.Join(t.TempDir(), "a.tar")
	if err := pack(packed(t, out)); err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(out, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Fatal(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(append(cfg.Config.Entrypoint, cfg.Config.Cmd...), " "); got != "/server -grpc :50051" {
		t.Errorf("the image runs %q, want /server -grpc :50051", got)
	}
	if cfg.Config.User != "65532:65532" || cfg.Architecture != "amd64" || cfg.OS != "linux" {
		t.Errorf("got user %q on %s/%s, want 65532:65532 on linux/amd64", cfg.Config.User, cfg.OS, cfg.Architecture)
	}
	want := map[string]int64{
		"etc/": 0o755, "tmp/": 0o1777, "opt/": 0o755, "opt/x/": 0o755,
		"etc/passwd": 0o644, "server": 0o755, "opt/x/data": 0o644,
	}
	for name, mode := range modes(t, img) {
		if want[name] != mode {
			t.Errorf("%s has mode %o, want %o", name, mode, want[name])
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("the image lacks %v", want)
	}
}

func modes(t *testing.T, img v1.Image) map[string]int64 {
	t.Helper()
	content := mutate.Extract(img)
	defer content.Close()
	all := map[string]int64{}
	for r := tar.NewReader(content); ; {
		h, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.ModTime.Unix() != 0 {
			t.Errorf("%s has the time %v, want 1970", h.Name, h.ModTime)
		}
		name := h.Name
		if h.Typeflag == tar.TypeDir {
			name = strings.TrimSuffix(name, "/") + "/"
		}
		all[name] = h.Mode
	}
}

func TestPackIsReproducible(t *testing.T) {
	var archives [2][]byte
	for i := range archives {
		out := filepath.Join(t.TempDir(), "a.tar")
		if err := pack(packed(t, out)); err != nil {
			t.Fatal(err)
		}
		archives[i], _ = os.ReadFile(out)
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the same files led to two different archives")
	}
}

func TestWrongFlags(t *testing.T) {
	_, err := parse([]string{"-entrypoint", "/x", "server=server", "/server"}, io.Discard)
	if err == nil {
		t.Fatal("wrong flags were accepted")
	}
	for _, want := range []string{"-o: is required", "-tag: is required", `"server=server"`, `"/server"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got error %q, want it to contain %q", err, want)
		}
	}
}
