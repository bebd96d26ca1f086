package asyncapi

import (
	"fmt"
	"io/fs"

	"example.com/orders/knative"
)

// File is the path of the document of an overlay in a checkout, of the base for the name "".
func File(overlay string) string {
	if overlay == "" {
		return "events/asyncapi.yaml"
	}
	return "events/asyncapi." + overlay + ".yaml"
}

// Of describes the overlay of a folder like knative/, the base for the names "" and knative.BaseName.
func Of(manifests fs.FS, overlay string, o Options) (Document, error) {
	w, err := knative.LoadOverlay(manifests, overlay)
	if err != nil {
		return Document{}, err
	}
	if o.Base, err = knative.LoadOverlay(manifests, knative.BaseName); err != nil {
		return Document{}, err
	}
	return New(w, o)
}

// Files returns the documents of the base and of each overlay that routes in another way by their paths in a checkout.
func Files(manifests fs.FS, o Options) (map[string][]byte, error) {
	all := map[string][]byte{}
	for _, overlay := range append([]string{""}, knative.Routings()...) {
		d, err := Of(manifests, overlay, o)
		if err != nil {
			return nil, fmt.Errorf("describe the overlay %q: %w", overlay, err)
		}
		if all[File(overlay)], err = d.YAML(); err != nil {
			return nil, err
		}
	}
	return all, nil
}
