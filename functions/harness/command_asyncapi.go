package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/pflag"

	"example.com/orders/functions/internal/operate/asyncapi"
	"example.com/orders/functions/internal/operate/scaffold"
	"example.com/orders/knative"
)

// prepareAsyncAPI adds the flags of asyncapi.
func prepareAsyncAPI(flags *pflag.FlagSet) runner {
	asJSON := flags.Bool("json", false, "print JSON instead of YAML")
	write := flags.Bool("write", false, "write the documents of the base and of all overlays into this checkout")
	return func(_ context.Context, o options, out streams) error {
		if *write {
			return writeAsyncAPI(out)
		}
		d, err := asyncapi.Of(knative.Manifests(), o.overlay, asyncapi.Options{})
		if err != nil {
			return err
		}
		encode := d.YAML
		if *asJSON {
			encode = func() ([]byte, error) { return json.Marshal(d) }
		}
		text, err := encode()
		if err != nil {
			return err
		}
		_, err = out.stdout.Write(text)
		return err
	}
}

// writeAsyncAPI writes the documents into the checkout that this process is in.
func writeAsyncAPI(out streams) error {
	folder, err := os.Getwd()
	if err != nil {
		return err
	}
	root, err := scaffold.Root(folder)
	if err != nil {
		return err
	}
	files, err := asyncapi.Files(knative.Manifests(), asyncapi.Options{})
	if err != nil {
		return err
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if err := os.WriteFile(filepath.Join(root, filepath.FromSlash(path)), files[path], 0o644); err != nil { //nolint:gosec // a description is for everybody to read
			return err
		}
		fmt.Fprintln(out.stdout, "wrote", path)
	}
	return nil
}
