// Command protogen compiles proto files and runs the protoc plugins of this module on them. It
// replaces protoc, so go.mod pins everything that generates code.
//
//	go tool protogen -in ../example/proto -out ../example/gen -gateway FILE.yaml hello/v1/hello.proto
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	in := flag.String("in", "", "folder that import paths start from")
	out := flag.String("out", "", "folder to write to; package paths are kept below it")
	gateway := flag.String("gateway", "", "YAML file with grpc-gateway's API configuration")
	flag.Parse()
	if err := run(context.Background(), *in, *out, *gateway, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

// plugin is a generator: its name for `go tool`, and its parameter.
type plugin struct{ tool, param string }

func run(ctx context.Context, in, out, gateway string, files []string) error {
	req, err := compile(ctx, in, files)
	if err != nil {
		return err
	}
	plugins := []plugin{
		{"protoc-gen-go", "paths=source_relative"},
		{"protoc-gen-go-grpc", "paths=source_relative"},
	}
	if gateway != "" {
		plugins = append(plugins, plugin{"protoc-gen-grpc-gateway", "paths=source_relative,grpc_api_configuration=" + gateway})
	}
	for _, p := range plugins {
		if err := p.generate(ctx, req, out); err != nil {
			return fmt.Errorf("%s: %w", p.tool, err)
		}
	}
	return nil
}

// compile parses and links files and their imports, and returns a plugin's request.
func compile(ctx context.Context, in string, files []string) (*pluginpb.CodeGeneratorRequest, error) {
	c := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{in}}),
		// With this, comments of the proto become comments of the Go code.
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	linked, err := c.Compile(ctx, files...)
	if err != nil {
		return nil, err
	}
	req := &pluginpb.CodeGeneratorRequest{FileToGenerate: files}
	seen := map[string]bool{}
	for _, f := range linked {
		req.ProtoFile = appendWithImports(req.ProtoFile, f, seen)
	}
	return req, nil
}

// appendWithImports appends f after everything that it imports, and each file once. Plugins
// rely on this order.
func appendWithImports(list []*descriptorpb.FileDescriptorProto, f protoreflect.FileDescriptor, seen map[string]bool) []*descriptorpb.FileDescriptorProto {
	if seen[f.Path()] {
		return list
	}
	seen[f.Path()] = true
	for i := range f.Imports().Len() {
		list = appendWithImports(list, f.Imports().Get(i).FileDescriptor, seen)
	}
	return append(list, protoutil.ProtoFromFileDescriptor(f))
}

// generate runs the plugin and writes the files of its response below out.
func (p plugin) generate(ctx context.Context, req *pluginpb.CodeGeneratorRequest, out string) error {
	req.Parameter = proto.String(p.param)
	body, err := proto.Marshal(req)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "tool", p.tool) //nolint:gosec // The name is one of ours.
	cmd.Stdin, cmd.Stderr = bytes.NewReader(body), os.Stderr
	output, err := cmd.Output()
	if err != nil {
		return err
	}
	resp := &pluginpb.CodeGeneratorResponse{}
	if err := proto.Unmarshal(output, resp); err != nil {
		return err
	}
	if resp.Error != nil {
		return errors.New(resp.GetError())
	}
	return writeAll(out, resp.GetFile())
}

func writeAll(out string, files []*pluginpb.CodeGeneratorResponse_File) error {
	for _, f := range files {
		if !filepath.IsLocal(f.GetName()) {
			return fmt.Errorf("the plugin would write %q outside of %s", f.GetName(), out)
		}
		path := filepath.Join(out, f.GetName())
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(f.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
