package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"example.com/orders/sql/embedded"
)

// Bounds of the restarts of the private database server: the number of restarts within a time span; the wait doubles with
// each. A server that ends more often is given up.
const (
	maxRestarts   = 5
	restartSpan   = time.Minute
	firstDowntime = 100 * time.Millisecond
)

// keptServer is the private database server; it is restarted if it ends by itself.
type keptServer struct {
	log    *slog.Logger
	server *embedded.Server // the running server, or the last one; it no longer changes once kept is closed
	end    context.CancelFunc
	kept   chan struct{}
	lost   chan error // why the server was given up
}

// keep takes over a running server.
func keep(server *embedded.Server, log *slog.Logger) *keptServer {
	ctx, end := context.WithCancel(context.Background())
	k := &keptServer{log: log, server: server, end: end, kept: make(chan struct{}), lost: make(chan error, 1)}
	go k.run(ctx)
	return k
}

func (k *keptServer) run(ctx context.Context) {
	defer close(k.kept)
	var starts []time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.server.Done():
		}
		starts = slices.DeleteFunc(starts, func(at time.Time) bool { return time.Since(at) > restartSpan })
		if len(starts) == maxRestarts {
			k.lost <- fmt.Errorf("the private database server was started %d times within %s and has ended again: fix the cause in its log, or set MYSQL_DSN to another server; %s",
				maxRestarts, restartSpan, k.server.Log())
			return
		}
		wait := time.NewTimer(firstDowntime << len(starts))
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
		}
		k.log.Warn("the private database server has ended, restarting it", "start", len(starts)+1, "of", maxRestarts, "within", restartSpan)
		starts = append(starts, time.Now())
		server, err := k.server.Again(ctx)
		switch {
		case err == nil:
			k.server = server
			k.log.Info("the private database server runs again")
		case ctx.Err() == nil:
			k.log.Warn("the private database server could not be started", "error", err)
		}
	}
}

// stop stops the server.
func (k *keptServer) stop(ctx context.Context) error {
	k.end()
	<-k.kept
	return k.server.Stop(ctx)
}
