// Command gen writes body.pb.go of body.proto, and the descriptor that keeps field numbers from
// changing. It needs no protoc: the compiler and the generator are Go modules, whose versions stand in
// this directory's go.mod.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/bufbuild/protocompile"
	gengo "google.golang.org/protobuf/cmd/protoc-gen-go/internal_gengo"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	if err := generate(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// generate compiles dir/name.proto into dir/name.pb.go.
func generate(dir, name string) error {
	source := name + ".proto"
	compiler := protocompile.Compiler{
		Resolver:       &protocompile.SourceResolver{ImportPaths: []string{dir}},
		SourceInfoMode: protocompile.SourceInfoStandard, // the comments
	}
	files, err := compiler.Compile(context.Background(), source)
	if err != nil {
		return err
	}
	described := protodesc.ToFileDescriptorProto(files[0])
	plugin, err := protogen.Options{}.New(&pluginpb.CodeGeneratorRequest{
		FileToGenerate: []string{source},
		ProtoFile:      []*descriptorpb.FileDescriptorProto{described},
	})
	if err != nil {
		return err
	}
	for _, f := range plugin.Files {
		gengo.GenerateFile(plugin, f)
	}
	response := plugin.Response()
	if response.Error != nil {
		return fmt.Errorf("%s: %s", source, *response.Error)
	}
	for _, f := range response.File {
		// Where the import path begins the file's name it is of no use: the file lies beside its source.
		if err := os.WriteFile(dir+"/"+f.GetName()[strings.LastIndex(f.GetName(), "/")+1:], []byte(f.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
