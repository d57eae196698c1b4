package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// release is set by the linker for a release build (see the Makefile).
var release string

type versionCmd struct{}

// Run prints the version, the Go release and the platform.
func (versionCmd) Run(s streams) error {
	_, err := fmt.Fprintf(s.out, "weir %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// version returns the release, or what the Go tool recorded of the build.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" || v == "(devel)" {
		v = "devel"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && v == "devel" {
			v += "-" + s.Value[:min(12, len(s.Value))]
		}
	}
	return v
}
