package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/pprof"
	"os"
	"strings"

	"github.com/spf13/pflag"
	httpfunc "knative.dev/func-go/http"

	"example.com/orders/functions"
	"example.com/orders/functions/deploy"
)

// prepareFunction adds the flags of function, the command by which a harness runs each function as a process of its own.
func prepareFunction(flags *pflag.FlagSet) runner {
	name := flags.String("name", "", "the `folder` of the function")
	profiles := flags.Bool("pprof", false, "serve Go's profiles at "+profilesPath)
	return func(ctx context.Context, _ options, _ streams) error { return serveFunction(ctx, *name, *profiles) }
}

// serveFunction serves one function of the catalogue as a pod of it does, by func's runtime and its environment, until ctx
// ends or standard input does: the harness that started it holds the other end, and may be killed.
func serveFunction(ctx context.Context, name string, profiles bool) error {
	construct, ok := functions.Catalogue[name]
	if !ok {
		return usage(fmt.Errorf("--name %q: the catalogue has no such function", name))
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // however it ends
		end()
	}()
	var served httpfunc.Handler = deploy.New(construct())
	if profiles {
		served = profiled{served.(*deploy.Function)} //nolint:forcetypeassert // it was made one above
	}
	return httpfunc.New(served).Start(ctx)
}

const profilesPath = "/debug/pprof/"

// profiled is a function that serves Go's profiles as well.
type profiled struct{ *deploy.Function }

func (p profiled) Handle(w http.ResponseWriter, r *http.Request) {
	switch name, found := strings.CutPrefix(r.URL.Path, profilesPath); {
	case !found:
		p.Function.Handle(w, r)
	case name == "profile":
		pprof.Profile(w, r)
	case name == "trace":
		pprof.Trace(w, r)
	default:
		pprof.Index(w, r)
	}
}
