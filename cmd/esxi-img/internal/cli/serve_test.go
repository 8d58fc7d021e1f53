package cli_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/cli"
	"github.com/esxi-img/esxi-img/pkg/esxitest"
)

// serving is a registry that serve runs.
type serving struct {
	url    string
	host   string
	stop   func()
	ended  chan int // the exit code
	stderr *bytes.Buffer
}

// serve runs the command until the test ends.
func serve(t *testing.T, args ...string) *serving {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	r, w := io.Pipe()
	s := &serving{stop: stop, ended: make(chan int, 1), stderr: new(bytes.Buffer)}
	go func() {
		code := cli.Run(ctx, append([]string{"serve", "--listen", "127.0.0.1:0", "--json"}, args...), cli.System{
			Stdin: strings.NewReader(""), Stdout: w, Stderr: s.stderr, Getenv: func(string) string { return "" },
		})
		_ = w.Close() // nobody reads any more
		s.ended <- code
	}()
	t.Cleanup(stop)
	var out struct {
		URL string `json:"url"`
	}
	if err := json.NewDecoder(r).Decode(&out); err != nil {
		stop()
		t.Fatalf("%v; exit code %d: %s", err, <-s.ended, s.stderr)
	}
	s.url = out.URL
	_, s.host, _ = strings.Cut(out.URL, "://")
	return s
}

// block is how much of a disk is compared at once.
const block = 64 << 10

// blocksOf returns where a disk's blocks begin, and which of them are not zeros.
// Reading the holes of 200 files takes longer than pulling them.
func blocksOf(disk []byte) (all, full []int) {
	zeros := make([]byte, block)
	for at := 0; at < len(disk); at += block {
		all = append(all, at)
		if part := disk[at:min(at+block, len(disk))]; !bytes.Equal(part, zeros[:len(part)]) {
			full = append(full, at)
		}
	}
	return all, full
}

// sameDisk says where a file differs from a disk, among these blocks.
func sameDisk(path string, disk []byte, blocks []int) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if info, err := f.Stat(); err != nil || info.Size() != int64(len(disk)) {
		return fmt.Errorf("%d bytes are wanted: %v, %w", len(disk), info, err)
	}
	buf := make([]byte, block)
	for _, at := range blocks {
		want := disk[at:min(at+block, len(disk))]
		if _, err := f.ReadAt(buf[:len(want)], int64(at)); err != nil {
			return err
		}
		if !bytes.Equal(buf[:len(want)], want) {
			return fmt.Errorf("it is another at %d", at)
		}
	}
	return nil
}

// 200 pulls at once from one registry: all are right, and none has to wait for
// much longer than the others.
func TestManyPulls(t *testing.T) {
	const many = 200
	dir := t.TempDir()
	medium, raw, layout := filepath.Join(dir, "esxi.iso"), filepath.Join(dir, "want.img"), filepath.Join(dir, "esxi-img.oci")
	if err := os.WriteFile(medium, esxitest.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	r := command(t.Context(), "build", medium, "--layout", layout, "--output", raw, "--quiet")
	r.ended(t, done, "")
	want, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, layout, "--read-only")
	var (
		wg   sync.WaitGroup
		took [many]time.Duration
		gate = make(chan struct{})
		out  = func(i int) string { return filepath.Join(dir, fmt.Sprintf("%03d.img", i)) }
	)
	for i := range many {
		wg.Go(func() {
			<-gate
			r := command(t.Context(), "pull", s.host+"/esxi-img.oci", "-o", out(i), "--insecure-skip-verify", "--retries", "0", "--quiet")
			took[i] = r.took
			if r.code != done {
				t.Errorf("pull %d: %s", i, r.stderr)
			}
		})
	}
	close(gate)
	wg.Wait()
	all, full := blocksOf(want)
	for i := range many {
		blocks := full
		if i%20 == 0 {
			blocks = all
		}
		if err := sameDisk(out(i), want, blocks); err != nil {
			t.Errorf("pull %d: %v", i, err)
		}
	}
	sorted := slices.Sorted(slices.Values(took[:]))
	first, median, last := sorted[0], sorted[many/2], sorted[many-1]
	t.Logf("the first after %s, the median %s, the last %s", first, median, last)
	if last > 4*median+2*time.Second {
		t.Errorf("the last took %s, the median %s", last, median)
	}
	s.stop()
	if code := <-s.ended; code != done {
		t.Errorf("serve ended with %d: %s", code, s.stderr)
	}
}

// selfSigned writes a certificate for 127.0.0.1 and its key.
func selfSigned(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, b []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", cert), write("key.pem", "PRIVATE KEY", private)
}

// With a certificate it speaks HTTPS, and nothing else.
func TestServeTLS(t *testing.T) {
	cert, key := selfSigned(t)
	s := serve(t, t.TempDir(), "--tls-cert", cert, "--tls-key", key)
	if !strings.HasPrefix(s.url, "https://") {
		t.Errorf("it says %s", s.url)
	}
	ref, layout := s.host+"/org/esxi", buildImage(t).layout
	for args, c := range map[string]struct {
		code int
		says string
	}{
		"--ca-file=" + cert:          {done, ""},
		"--insecure-skip-tls-verify": {done, ""},
		"--plain-http=false":         {badRegistry, "certificate"},
		"--plain-http":               {badRegistry, "400 Bad Request"},
	} {
		r := command(t.Context(), "push", ref, "--layout", layout, "--retries", "0", args)
		r.ended(t, c.code, c.says)
	}
}

// Who opens a registry to the network is told so; who opens one to read is not.
func TestServeToEverybody(t *testing.T) {
	for _, c := range []struct {
		args []string
		warn bool
	}{{[]string{"--listen", "0.0.0.0:0"}, true}, {[]string{"--listen", "0.0.0.0:0", "--read-only"}, false}, {nil, false}} {
		s := serve(t, append([]string{t.TempDir()}, c.args...)...)
		s.stop()
		if code := <-s.ended; code != done || strings.Contains(s.stderr.String(), "may push") != c.warn {
			t.Errorf("%q: %d, %s", c.args, code, s.stderr)
		}
	}
}
