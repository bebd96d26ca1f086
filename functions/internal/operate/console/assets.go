package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"

	"example.com/orders/functions/internal/web/rest"
)

//go:embed static
var static embed.FS

// policy allows only resources of this server, and nothing inline: text in an order is never executed.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'none'; base-uri 'none'; frame-ancestors 'none'"

// secured adds the headers that isolate a page.
func secured(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "same-origin")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		next(w, r)
	}
}

type asset struct {
	content []byte
	tag     string
	media   string
}

type assetSet map[string]asset

// mediaTypes are those of the embedded files: the machine's own table may differ.
var mediaTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// assets reads the embedded files.
func assets() assetSet {
	all := assetSet{}
	files, err := fs.ReadDir(static, "static")
	if err != nil {
		panic(err) // they are embedded
	}
	for _, file := range files {
		content, err := fs.ReadFile(static, path.Join("static", file.Name()))
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(content)
		all[file.Name()] = asset{content, `"` + hex.EncodeToString(sum[:8]) + `"`, mediaTypes[path.Ext(file.Name())]}
	}
	return all
}

func (s assetSet) page(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { s.write(w, r, name) }
}

func (s assetSet) file(w http.ResponseWriter, r *http.Request) { s.write(w, r, r.PathValue("file")) }

// write sends a file, or 304 if the browser has it: browsers revalidate each file, so that a page never mixes two versions.
func (s assetSet) write(w http.ResponseWriter, r *http.Request, name string) {
	a, ok := s[name]
	if !ok {
		rest.Handler(nil, rest.NotFound)(w, r)
		return
	}
	header := w.Header()
	header.Set("Content-Type", a.media)
	header.Set("Cache-Control", "no-cache")
	header.Set("ETag", a.tag)
	if r.Header.Get("If-None-Match") == a.tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write(a.content) // it fails only if the client is gone
}
