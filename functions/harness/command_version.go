package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// Set by -X main.revision=... where the go command does not see a whole repository, as in the image.
var revision, version string

// build describes how the program was built, as far as known.
type build struct {
	Version  string `json:"version"`            // of the module, "(devel)" outside of a release
	Commit   string `json:"commit,omitempty"`   // the commit that was built
	Time     string `json:"time,omitempty"`     // of that commit
	Modified bool   `json:"modified,omitempty"` // there were uncommitted changes
	Go       string `json:"go"`
}

func readBuild() build {
	b := build{Version: or(version, "unknown"), Commit: revision}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Version, b.Go = or(version, info.Main.Version), info.GoVersion
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// versionText says what the program was built from.
func versionText() string {
	b := readBuild()
	commit := or(b.Commit, "unknown")
	if b.Modified {
		commit += ", modified"
	}
	return fmt.Sprintf("orders harness %s\ncommit %s\n%s %s/%s\n", b.Version, commit, b.Go, runtime.GOOS, runtime.GOARCH)
}

// versionCommand prints what the program was built from.
func versionCommand(_ context.Context, _ options, out streams) error {
	_, err := io.WriteString(out.stdout, versionText())
	return err
}
