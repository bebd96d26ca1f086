package main

import (
	"net/http"
	"time"
)

// newHTTPServer returns the server of everything that the harness answers.
func newHTTPServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 1 << 16,
		DisableGeneralOptionsHandler: true, // it would answer OPTIONS * by any host
	}
}
