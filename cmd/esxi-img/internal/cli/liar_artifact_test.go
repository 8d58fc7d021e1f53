package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// object is a JSON object.
type object = map[string]any

func list(o object, name string) []any {
	l, _ := o[name].([]any)
	return l
}

func first(o object, name string) object {
	m, _ := list(o, name)[0].(object)
	return m
}

// forgeries are configs that are what their digests say, and still lies.
var forgeries = []struct {
	name  string
	forge func(config object) []byte // nil: the object as it is now
	says  string
}{
	{"a thousand million files", func(c object) []byte {
		// As many as go into the 4 MiB that a config may have.
		const empty = `{},`
		b, err := json.Marshal(c)
		if err != nil {
			return nil
		}
		n := (4<<20 - len(b) - 100) / len(empty)
		return bytes.Replace(b, []byte(`"files":[`), []byte(`"files":[`+strings.Repeat(empty, n)), 1)
	}, "config: "},
	{"a config of 5 MiB", func(c object) []byte {
		b, err := json.Marshal(c)
		if err != nil {
			return nil
		}
		return append(b, bytes.Repeat([]byte{' '}, 5<<20-len(b))...)
	}, "config: size 5242880"},
	{"nested a million times", func(object) []byte { return bytes.Repeat([]byte{'['}, 1_000_000) }, "config: "},
	{"an offset beyond the disk", func(c object) []byte { first(c, "files")["offset"] = 1 << 50; return nil }, "config: "},
	{"an extent beyond the disk", func(c object) []byte {
		extents := list(c, "extents")
		extents[len(extents)-1].(object)["offset"] = 1 << 50
		return nil
	}, "config: "},
	{"a negative offset", func(c object) []byte { first(c, "extents")["offset"] = -1; return nil }, "config: "},
	{"an extent twice", func(c object) []byte {
		c["extents"] = append([]any{first(c, "extents")}, list(c, "extents")...)
		return nil
	}, "config: "},
	{"overlapping extents", func(c object) []byte {
		e, _ := list(c, "extents")[1].(object)
		at, _ := e["offset"].(float64)
		e["offset"] = at - 512
		return nil
	}, "config: "},
	{"a gap", func(c object) []byte { c["extents"] = list(c, "extents")[1:]; return nil }, "config: "},
	{"a disk of 4 EiB", func(c object) []byte {
		disk, _ := c["disk"].(object)
		disk["size"] = 1 << 62
		return nil
	}, "config: "},
	{"a file twice", func(c object) []byte {
		c["files"] = append([]any{first(c, "files")}, list(c, "files")...)
		return nil
	}, "config: "},
	{"another version", func(c object) []byte { c["version"] = "99.0"; return nil }, ""},
}

// forge pushes the image with another config, under a tag, and with all digests
// right.
func forge(t *testing.T, to *registry.Repository, tag string, change func(object) []byte) {
	t.Helper()
	from := registrytest.Open(t, "oci:"+buildImage(t).layout, registry.Options{})
	fetch := func(desc ocispec.Descriptor) object {
		b, err := from.FetchBytes(t.Context(), desc, 0)
		if err != nil {
			t.Fatal(err)
		}
		var o object
		if err := json.Unmarshal(b, &o); err != nil {
			t.Fatal(err)
		}
		return o
	}
	describe := func(o any) (desc ocispec.Descriptor) {
		b, err := json.Marshal(o)
		if err == nil {
			err = json.Unmarshal(b, &desc)
		}
		if err != nil {
			t.Fatal(err)
		}
		return desc
	}
	push := func(as, body any) {
		o, _ := as.(object)
		b, raw := body.([]byte)
		if !raw {
			var err error
			if b, err = json.Marshal(body); err != nil {
				t.Fatal(err)
			}
		}
		o["digest"], o["size"] = digest.FromBytes(b).String(), len(b)
		if err := to.Push(t.Context(), describe(o), bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
	top, err := from.Resolve(t.Context(), "latest")
	if err != nil {
		t.Fatal(err)
	}
	index := fetch(top)
	entry := first(index, "manifests")
	manifest := fetch(describe(entry))
	config := fetch(describe(manifest["config"]))
	var body any = config
	if b := change(config); b != nil {
		body = b
	}
	push(manifest["config"], body)
	push(entry, manifest)
	as := object{"mediaType": ocispec.MediaTypeImageIndex}
	push(as, index)
	if err := to.Tag(t.Context(), describe(as), tag); err != nil {
		t.Fatal(err)
	}
}

// An image whose digests are right and whose config lies is refused before
// anything is written, by whoever reads it.
func TestForgedConfigs(t *testing.T) {
	l := liar(t)
	to := registrytest.Open(t, l.Host+"/liar/esxi", registry.Options{})
	// Unchanged it is fine: it is the change that is refused.
	forge(t, to, "same", func(object) []byte { return nil })
	r := command(t.Context(), "pull", l.Host+"/liar/esxi:same", "-o", filepath.Join(t.TempDir(), "got.img"), "--insecure-skip-verify")
	r.ended(t, done, "")
	for _, c := range forgeries {
		t.Run(c.name, func(t *testing.T) {
			forge(t, to, "forged", c.forge)
			dir := t.TempDir()
			for _, args := range [][]string{
				{"pull", l.Host + "/liar/esxi:forged", "-o", filepath.Join(dir, "got.img"), "--insecure-skip-verify"},
				{"push", l.Host + "/liar/esxi:lab", "--base", l.Host + "/liar/esxi:forged", "--post", post(t), "--insecure-skip-verify"},
				{"inspect", l.Host + "/liar/esxi:forged"},
			} {
				r := command(t.Context(), args...)
				r.ended(t, badInput, c.says)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
				t.Errorf("something was written: %v, %v", entries, err)
			}
		})
	}
}

// post is a script for a variant.
func post(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hello.sh")
	if err := os.WriteFile(path, []byte("true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
