package registry_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

const (
	someDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	longDigest = "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]registry.Reference{
		"ghcr.io/org/esxi":                        {Registry: "ghcr.io", Repository: "org/esxi"},
		"ghcr.io/org/esxi:8.0":                    {Registry: "ghcr.io", Repository: "org/esxi", Tag: "8.0"},
		"localhost:5000/a@" + someDigest:          {Registry: "localhost:5000", Repository: "a", Digest: someDigest},
		"10.0.0.1:5000/a:b@" + longDigest:         {Registry: "10.0.0.1:5000", Repository: "a", Tag: "b", Digest: longDigest},
		"[2001:db8::1]:5000/a/b_c/d-e:8.0u3-1_X":  {Registry: "[2001:db8::1]:5000", Repository: "a/b_c/d-e", Tag: "8.0u3-1_X"},
		"[::1]/a":                                 {Registry: "[::1]", Repository: "a"},
		"oci:esxi-img.oci":                        {Scheme: "oci", Path: "esxi-img.oci"},
		"oci:./dir:8.0":                           {Scheme: "oci", Path: "./dir", Tag: "8.0"},
		"oci:/srv/a:b/":                           {Scheme: "oci", Path: "/srv/a:b/"},
		"oci:/srv/a:b/c:d":                        {Scheme: "oci", Path: "/srv/a:b/c", Tag: "d"},
		`oci:C:\images\esxi`:                      {Scheme: "oci", Path: `C:\images\esxi`},
		`oci:C:/images/esxi:8.0`:                  {Scheme: "oci", Path: `C:/images/esxi`, Tag: "8.0"},
		"oci:dir@" + someDigest:                   {Scheme: "oci", Path: "dir", Digest: someDigest},
		"oci:dir:x@" + someDigest:                 {Scheme: "oci", Path: "dir", Tag: "x", Digest: someDigest},
		"oci:user@home":                           {Scheme: "oci", Path: "user@home"},
		"oci-archive:a b.tar:latest":              {Scheme: "oci-archive", Path: "a b.tar", Tag: "latest"},
		"oci-archive:/tmp/esxi.tar@" + someDigest: {Scheme: "oci-archive", Path: "/tmp/esxi.tar", Digest: someDigest},
	} {
		got, err := registry.Parse(text)
		if err != nil || got != want {
			t.Errorf("Parse(%q) = %+v, %v\nwant %+v", text, got, err, want)
		}
		if got.String() != text {
			t.Errorf("%q is written as %q", text, got)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                                      "no registry",
		"esxi":                                  "no registry or no repository",
		"/a":                                    "no host name",
		"ghcr.io/":                              "invalid repository",
		"ghcr.io/Org/esxi":                      "invalid repository",
		"ghcr.io/a//b":                          "invalid repository",
		"ghcr.io/../a":                          "invalid repository",
		"ghcr.io/a:":                            "cannot be a tag",
		"ghcr.io/a:.b":                          "cannot be a tag",
		"ghcr.io/a:b:c":                         "cannot be a tag",
		"ghcr.io/a:b c":                         "cannot be a tag",
		"ghcr.io/a:" + strings.Repeat("x", 129): "cannot be a tag",
		"ghcr.io/a@sha256:123":                  "digest",
		"ghcr.io/a@md5:d41d8cd98f00b204e9800998ecf8427e": "digest",
		"ghcr.io/a@":                          "digest",
		"us er/a":                             "no host name",
		"user@ghcr.io/a":                      "digest",
		"[::1/a":                              "invalid registry",
		"ghcr.io:port/a":                      "invalid registry",
		"ghcr.io/" + strings.Repeat("a", 256): "over the limit of 255",
		"https://ghcr.io/a":                   "a URL",
		"oci://ghcr.io/a":                     "a URL",
		"docker://ghcr.io/a":                  "a URL",
		"oci:":                                "no path",
		"oci::tag":                            "no path",
		"oci:dir:":                            "nothing follows the last colon",
		"oci:a\x00b":                          "NUL",
		"oci:" + strings.Repeat("a", 5000):    "over the limit of 4096",
	} {
		var e *registry.ReferenceError
		if got, err := registry.Parse(text); !errors.As(err, &e) || !strings.Contains(err.Error(), want) || e.Advice == "" {
			t.Errorf("Parse(%.40q) = %+v, %v\nwant %q", text, got, err, want)
		}
	}
}

func TestReferenceNames(t *testing.T) {
	ref, err := registry.Parse("ghcr.io/org/esxi")
	if err != nil {
		t.Fatal(err)
	}
	if ref.Name() != "latest" || ref.WithTag("8.0").Name() != "8.0" || ref.WithTag("8.0").WithDigest(someDigest).String() != "ghcr.io/org/esxi@"+someDigest {
		t.Error(ref.Name(), ref.WithTag("8.0"), ref.WithDigest(someDigest))
	}
	same, other := ref.WithTag("x"), ref
	other.Repository = "org/other"
	if !ref.SamePlace(same) || ref.SamePlace(other) || !ref.SameRegistry(other) {
		t.Error("SamePlace, SameRegistry")
	}
}

// Plain HTTP is implied for this machine only.
func TestPlainHTTP(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		host string
		opts registry.Options
		want string
	}{
		{"localhost:5000", registry.Options{}, "http"},
		{"LOCALHOST", registry.Options{}, "http"},
		{"127.1.2.3:80", registry.Options{}, "http"},
		{"[::1]:5000", registry.Options{}, "http"},
		{"[::ffff:127.0.0.1]:5000", registry.Options{}, "http"},
		{"localhost.example", registry.Options{}, "https"},
		{"127.0.0.1.example", registry.Options{}, "https"},
		{"10.0.0.1", registry.Options{}, "https"},
		{"10.0.0.1", registry.Options{PlainHTTP: &yes}, "http"},
		{"localhost", registry.Options{PlainHTTP: &no}, "https"},
		{"localhost", registry.Options{InsecureSkipTLSVerify: true}, "https"},
	} {
		if got := registry.Scheme(c.opts, c.host); got != c.want {
			t.Errorf("%s, %+v: %s, want %s", c.host, c.opts, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"ghcr.io/org/esxi:8.0", "[::1]:5000/a@" + someDigest, "oci:dir:tag", "oci:C:\\dir", "oci-archive:a.tar@" + someDigest, "oci:a:b@c:d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := registry.Parse(s)
		if err != nil {
			return
		}
		if ref.Name() == "" || ref.Locator() == "" {
			t.Errorf("%q: %+v", s, ref)
		}
		again, err := registry.Parse(ref.String())
		if err != nil || again != ref {
			t.Errorf("%q is %+v, which is written as %q, which is %+v, %v", s, ref, ref, again, err)
		}
	})
}
