//go:build e2e && linux

package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// open asks a web server, which has to answer 200.
func open(t *testing.T, client *http.Client, url, accept string) (body *bytes.Reader, header http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", url, resp.Status)
	}
	return bytes.NewReader(all), resp.Header
}

// fetch writes what is at a URL to a file, and returns its digest.
func fetch(t *testing.T, url, file string) string {
	t.Helper()
	body, _ := open(t, http.DefaultClient, url, "")
	return save(t, body, file)
}

func save(t *testing.T, from io.Reader, file string) string {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, h), from)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// ironicFromRegistry does with an image source what Ironic's conductor and its
// agent do (ironic/common/oci_registry.py and image_service.py): the tag is in
// the list, the index has an entry disktype=raw for the node, and that one
// layer, which is streamed to the disk and then held against its digest.
func ironicFromRegistry(t *testing.T, s *site, source, disk string) {
	t.Helper()
	pem, err := os.ReadFile(s.ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	name, tag, _ := strings.Cut(strings.TrimPrefix(source, "oci://"), ":")
	host, repo, _ := strings.Cut(name, "/")
	base := "https://" + host + "/v2/" + repo

	var list struct{ Tags []string }
	body, _ := open(t, client, base+"/tags/list", "")
	readJSON(t, body, &list)
	if !strings.Contains(" "+strings.Join(list.Tags, " ")+" ", " "+tag+" ") {
		t.Fatalf("%s is not among %q", tag, list.Tags)
	}
	var index ocispec.Index
	body, header := open(t, client, base+"/manifests/"+tag, ocispec.MediaTypeImageIndex)
	if header.Get("Docker-Content-Digest") == "" {
		t.Error("no Docker-Content-Digest")
	}
	readJSON(t, body, &index)
	for _, d := range index.Manifests {
		if d.Annotations["disktype"] != "raw" || d.Platform != nil && d.Platform.Architecture != "amd64" {
			continue
		}
		var m ocispec.Manifest
		body, _ := open(t, client, base+"/manifests/"+d.Digest.String(), ocispec.MediaTypeImageManifest)
		readJSON(t, body, &m)
		if len(m.Layers) != 1 {
			t.Fatalf("%d layers", len(m.Layers))
		}
		body, _ = open(t, client, base+"/blobs/"+m.Layers[0].Digest.String(), "")
		if got := save(t, body, disk); got != m.Layers[0].Digest.Encoded() {
			t.Errorf("the layer is %s, not %s", got, m.Layers[0].Digest)
		}
		inspectGPT(t, disk)
		return
	}
	t.Fatalf("no entry disktype=raw in %+v", index)
}

func readJSON(t *testing.T, body io.Reader, into any) {
	t.Helper()
	if err := json.NewDecoder(body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

// ironicFromWeb does the same for a URL and a sum, or the URL of a file of sums
// (ironic_python_agent/extensions/standby.py).
func ironicFromWeb(t *testing.T, url, sum, disk string) {
	t.Helper()
	if strings.Contains(sum, "://") {
		body, _ := open(t, http.DefaultClient, sum, "")
		text, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if words := strings.Fields(line); len(words) == 2 && words[1] == path.Base(url) {
				sum = words[0]
			}
		}
	}
	if got := fetch(t, url, disk); got != sum {
		t.Errorf("%s is %s, not %s", url, got, sum)
	}
	inspectGPT(t, disk)
}

// inspectGPT is what oslo.utils' format_inspector wants of a raw disk.
func inspectGPT(t *testing.T, disk string) {
	t.Helper()
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 512)
	_, err = io.ReadFull(f, head)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	entry := head[446:462]
	if !bytes.Equal(head[510:], []byte{0x55, 0xAA}) || entry[4] != 0xEE || !bytes.Equal(entry[1:4], []byte{0, 2, 0}) ||
		!bytes.Equal(entry[8:12], []byte{1, 0, 0, 0}) || !bytes.Equal(head[462:510], make([]byte, 48)) {
		t.Errorf("MBR %x", head[446:])
	}
}

// imageToDisk does what Tinkerbell's image2disk does with these settings.
func imageToDisk(t *testing.T, environment map[string]string, disk string) {
	t.Helper()
	url := environment["IMG_URL"]
	body, _ := open(t, http.DefaultClient, url, "")
	var from io.Reader = body
	if compressed, err := strconv.ParseBool(environment["COMPRESSED"]); err != nil || compressed {
		if filepath.Ext(url) != ".gz" {
			t.Fatalf("%s: unknown compression suffix", url)
		}
		z, err := gzip.NewReader(from)
		if err != nil {
			t.Fatal(err)
		}
		from = z
	}
	save(t, from, disk)
}

// stopDaemon ends what wrote its number to a file. Who started it is gone, and
// so it is a child of this process, the first of its namespace.
func stopDaemon(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	errKill := syscall.Kill(pid, syscall.SIGKILL)
	_, errWait := syscall.Wait4(pid, nil, 0, nil)
	if err := errors.Join(errKill, errWait); err != nil {
		t.Error(err)
	}
}

// controller is a host's management controller: what of Redfish the page uses,
// with the members that the schemas VirtualMedia and ComputerSystem have. A
// reset fetches the medium in ranges, as a host reads it.
type controller struct {
	dir string

	mu     sync.Mutex
	image  string // URL of the medium; "": none
	once   bool   // the next start is from the medium
	bootOf string // file of what was started
}

const redfish = "/redfish/v1"

func (c *controller) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if user, password, ok := r.BasicAuth(); !ok || user != "admin" || password != "change-me-0815" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	err := c.answer(r)
	// Over HTTP/2 an answer before the body's end resets the stream, which
	// curl 7.88 takes for an error.
	_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, 1<<16))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (c *controller) answer(r *http.Request) error {
	body := json.NewDecoder(io.LimitReader(r.Body, 1<<16))
	body.DisallowUnknownFields()
	if r.Header.Get("Content-Type") != "application/json" {
		return errors.New("no JSON")
	}
	switch r.Method + " " + strings.TrimPrefix(r.URL.Path, redfish) {
	case "POST /Managers/1/VirtualMedia/Cd/Actions/VirtualMedia.InsertMedia":
		var medium struct {
			Image                    string
			Inserted, WriteProtected bool
		}
		if err := body.Decode(&medium); err != nil {
			return err
		}
		if path.Ext(medium.Image) != ".iso" || !medium.Inserted || !medium.WriteProtected || c.image != "" {
			return fmt.Errorf("%+v", medium)
		}
		c.image = medium.Image
	case "POST /Managers/1/VirtualMedia/Cd/Actions/VirtualMedia.EjectMedia":
		c.image = ""
	case "PATCH /Systems/1":
		var system struct {
			Boot struct {
				Target  string `json:"BootSourceOverrideTarget"`
				Enabled string `json:"BootSourceOverrideEnabled"`
				Mode    string `json:"BootSourceOverrideMode"`
			}
		}
		if err := body.Decode(&system); err != nil {
			return err
		}
		c.once = system.Boot.Target == "Cd" && system.Boot.Enabled == "Once" && system.Boot.Mode == "UEFI"
	case "POST /Systems/1/Actions/ComputerSystem.Reset":
		var reset struct{ ResetType string }
		if err := body.Decode(&reset); err != nil {
			return err
		}
		if reset.ResetType != "ForceRestart" || !c.once || c.image == "" {
			return fmt.Errorf("%+v, once: %v, medium %q", reset, c.once, c.image)
		}
		return c.start(r.Context())
	default:
		return fmt.Errorf("%s %s is not there", r.Method, r.URL.Path)
	}
	return nil
}

// start fetches the medium.
func (c *controller) start(ctx context.Context) (err error) {
	c.once, c.bootOf = false, filepath.Join(c.dir, "medium.iso")
	f, err := os.Create(c.bootOf)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	const piece = 3 << 20
	for at, size := int64(0), int64(1); at < size; at += piece {
		if size, err = c.readPiece(ctx, io.NewOffsetWriter(f, at), at, at+piece-1); err != nil {
			return err
		}
	}
	return nil
}

// readPiece returns the size of the medium.
func (c *controller) readPiece(ctx context.Context, w io.Writer, first, last int64) (size int64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.image, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", first, last))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	_, total, ok := strings.Cut(resp.Header.Get("Content-Range"), "/")
	if resp.StatusCode != http.StatusPartialContent || !ok {
		return 0, fmt.Errorf("%s: %s", c.image, resp.Status)
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return 0, err
	}
	return strconv.ParseInt(total, 10, 64)
}

// started returns the file that the host was started from, and whether the
// medium is still there.
func (c *controller) started() (file string, inserted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bootOf, c.image != ""
}
