package certificate

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Pair is the certificate of a server and its key, and follows the files that they come from.
type Pair struct {
	certFile, keyFile string
	log               *slog.Logger

	current  atomic.Pointer[tls.Certificate]
	checking sync.Mutex // guards the fields below
	checked  time.Time  // when the files were read
	tried    [][]byte   // what they had
}

// checkEvery is how long a handshake trusts that the files are still the same.
const checkEvery = time.Second

// Open loads a certificate and its key.
func Open(certFile, keyFile string, log *slog.Logger) (*Pair, error) {
	p := &Pair{certFile: certFile, keyFile: keyFile, log: log, checked: time.Now()}
	var err error
	if p.tried, err = p.read(); err != nil {
		return nil, err
	}
	loaded, err := p.parse(p.tried)
	if err != nil {
		return nil, err
	}
	p.current.Store(loaded)
	return p, nil
}

// Config returns the TLS settings of a server: TLS 1.2 or newer, with Go's choice of ciphers.
func (p *Pair) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			p.refresh()
			return p.current.Load(), nil
		},
	}
}

// Self returns the TLS settings by which this process calls its own server. They accept the certificate of the pair alone,
// whatever its names: this process reaches itself by an address.
func (p *Pair) Self() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection is stricter: it accepts one certificate
		VerifyConnection: func(s tls.ConnectionState) error {
			if !s.PeerCertificates[0].Equal(p.current.Load().Leaf) {
				return errors.New("another server answers at the address of this one")
			}
			return nil
		},
	}
}

// Names returns the names and addresses of the certificate.
func (p *Pair) Names() []string { return Names(p.current.Load().Leaf) }

// Names returns the names and addresses that a certificate is for.
func Names(of *x509.Certificate) []string {
	all := slices.Clone(of.DNSNames)
	for _, ip := range of.IPAddresses {
		all = append(all, ip.String())
	}
	return all
}

// refresh loads the files if they have changed, and keeps what it has if they cannot be used. A writer may be halfway through
// the two files: the next check finds the rest. Of concurrent handshakes one checks, and no other waits for it.
func (p *Pair) refresh() {
	if !p.checking.TryLock() {
		return
	}
	defer p.checking.Unlock()
	if time.Since(p.checked) < checkEvery {
		return
	}
	p.checked = time.Now()
	files, err := p.read()
	if err == nil && slices.EqualFunc(files, p.tried, bytes.Equal) {
		return
	}
	var loaded *tls.Certificate
	if err == nil {
		p.tried = files
		loaded, err = p.parse(files)
	}
	if err != nil {
		p.log.Error("the changed certificate is not used, the one before stays", "error", err, "until", p.current.Load().Leaf.NotAfter)
		return
	}
	p.current.Store(loaded)
	p.log.Info("certificate replaced", "file", p.certFile, "until", loaded.Leaf.NotAfter)
}

func (p *Pair) read() (files [][]byte, err error) {
	for _, path := range []string{p.certFile, p.keyFile} {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		files = append(files, text)
	}
	return files, nil
}

// parse returns a certificate that clients can accept today. Its errors contain nothing of the key.
func (p *Pair) parse(files [][]byte) (*tls.Certificate, error) {
	loaded, err := tls.X509KeyPair(files[0], files[1])
	if err != nil {
		return nil, fmt.Errorf("the certificate in %s with the key in %s: %w", p.certFile, p.keyFile, err)
	}
	if loaded.Leaf == nil { // GODEBUG=x509keypairleaf=0
		if loaded.Leaf, err = x509.ParseCertificate(loaded.Certificate[0]); err != nil {
			return nil, fmt.Errorf("the certificate in %s: %w", p.certFile, err)
		}
	}
	if now := time.Now(); now.After(loaded.Leaf.NotAfter) || now.Before(loaded.Leaf.NotBefore) {
		return nil, fmt.Errorf("the certificate in %s is valid from %s to %s: renew it", p.certFile,
			loaded.Leaf.NotBefore.Format(time.RFC3339), loaded.Leaf.NotAfter.Format(time.RFC3339))
	}
	if len(Names(loaded.Leaf)) == 0 {
		return nil, fmt.Errorf("the certificate in %s has no subjectAltName, without which clients refuse it: issue one with the names of the server", p.certFile)
	}
	return &loaded, nil
}
