package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// epoch is the time of everything in an image, so that the same files have the same digest.
var epoch = time.Unix(0, 0).UTC()

// passwd names the users that an image may run as, for programs that look them up.
const passwd = "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n"

func pack(o *options) error {
	tag, err := name.NewTag(o.tag)
	if err != nil {
		return fmt.Errorf("-tag: %w", err)
	}
	content, err := layerContent(o.files)
	if err != nil {
		return err
	}
	layer, err := tarball.LayerFromOpener(
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		tarball.WithCompressionLevel(gzip.BestSpeed))
	if err != nil {
		return err
	}
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		Architecture: o.arch,
		OS:           "linux",
		Created:      v1.Time{Time: epoch},
		Config: v1.Config{
			Entrypoint: o.entrypoint, Cmd: o.cmd, User: o.user,
			Env:        append([]string{"PATH=/"}, o.env...),
			WorkingDir: "/",
		},
		RootFS: v1.RootFS{Type: "layers"},
	})
	if err != nil {
		return err
	}
	img, err = mutate.Append(img, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: epoch}}})
	if err != nil {
		return err
	}
	return tarball.WriteToFile(o.out, tag, img)
}

// layerContent returns the image's only layer, uncompressed.
func layerContent(files []file) ([]byte, error) {
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	for _, dir := range dirs(files) {
		mode := int64(0o755)
		if dir == "tmp/" {
			mode = 0o1777
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: mode, ModTime: epoch}); err != nil {
			return nil, err
		}
	}
	if err := add(w, "/etc/passwd", 0o644, []byte(passwd)); err != nil {
		return nil, err
	}
	for _, f := range files {
		if err := addFile(w, f); err != nil {
			return nil, err
		}
	}
	return content.Bytes(), w.Close()
}

// dirs returns the folders of all files. A folder comes before its content.
func dirs(files []file) []string {
	all := []string{"etc/", "tmp/"}
	for _, f := range files {
		for dir := path.Dir(f.to); dir != "/"; dir = path.Dir(dir) {
			all = append(all, strings.TrimPrefix(dir, "/")+"/")
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func addFile(w *tar.Writer, f file) error {
	info, err := os.Stat(f.from)
	if err != nil {
		return err
	}
	body, err := os.ReadFile(f.from)
	if err != nil {
		return err
	}
	mode := int64(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	return add(w, f.to, mode, body)
}

func add(w *tar.Writer, to string, mode int64, body []byte) error {
	h := &tar.Header{
		Typeflag: tar.TypeReg, Name: strings.TrimPrefix(to, "/"), Mode: mode,
		Size: int64(len(body)), ModTime: epoch,
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(body)
	return err
}
