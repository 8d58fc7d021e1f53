package kickstart

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func snippet(t *testing.T, section Section, name, body string) Snippet {
	t.Helper()
	s, err := NewSnippet(section, name, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRenderOrder(t *testing.T) {
	opts := Options{
		Builtin: []Snippet{
			snippet(t, Firstboot, "10-a.py", "f1"),
			snippet(t, Pre, "20-b.sh", "p2\n"),
			snippet(t, Pre, "10-a.py", "# writes: /tmp/rootpw /tmp/network /tmp/install\np1\r\n"),
			snippet(t, Post, "10-a.sh", "o1"),
		},
		User: []Snippet{
			snippet(t, Post, "z.sh", "u2"),
			snippet(t, Pre, "z.sh", "u0"),
			snippet(t, Post, "a.py", "u3"),
		},
	}
	got, findings, err := Render(opts)
	if err != nil {
		t.Fatal(err)
	}
	want := Default() + `
%pre --interpreter=python
# pre/10-a.py
# writes: /tmp/rootpw /tmp/network /tmp/install
p1

%pre --interpreter=busybox
# pre/20-b.sh
p2

%post --interpreter=busybox
# post/10-a.sh
o1

%firstboot --interpreter=python
# firstboot/10-a.py
f1

%pre --interpreter=busybox
# pre/z.sh
u0

%post --interpreter=busybox
# post/z.sh
u2

%post --interpreter=python
# post/a.py
u3
`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if worst, _ := Worst(findings); worst != Note {
		t.Errorf("worst finding is %q, want note: %v", worst, findings)
	}
	again, _, err := Render(opts)
	if err != nil || !bytes.Equal(got, again) {
		t.Errorf("rendered differently the second time, error %v", err)
	}
}

func TestRenderKickstarts(t *testing.T) {
	writer := snippet(t, Pre, "30-rootpw.py", "# writes: /tmp/rootpw\npass\n")
	other := snippet(t, Pre, "20-x.sh", "echo x\n")
	disk := snippet(t, Pre, "50-disk.py", "# writes: /tmp/install\nx\n")
	lan := snippet(t, Pre, "40-lan.py", "# writes: /tmp/network\nx\n")
	hash := "rootpw --iscrypted $6$salt$" + hash86
	tests := []struct {
		name    string
		ks      string
		builtin []Snippet
		want    []string
		has     string
		hasNot  string
	}{
		{"default", Default(), []Snippet{writer, lan, disk, other}, nil, "pre/30-rootpw.py", ""},
		{"default without its scripts", Default(), []Snippet{writer}, []string{"3 error include-unwritten", "4 error include-unwritten"}, "pre/30-rootpw.py", ""},
		{"own disk and network", good, []Snippet{writer, lan, disk}, []string{"0 note include-missing", "0 note include-missing"}, "pre/30-rootpw.py", "pre/50-disk.py"},
		{"no network at all", with("network --bootproto=dhcp\n", ""), []Snippet{writer, lan}, []string{"0 note network-missing", "0 warning include-missing"}, "pre/30-rootpw.py", "pre/40-lan.py"},
		{"upgrade", with("install --firstdisk=local --overwritevmfs", "upgrade --firstdisk=local"), []Snippet{writer, disk}, []string{"0 note include-missing"}, "pre/30-rootpw.py", "pre/50-disk.py"},
		{"no last newline", strings.TrimSuffix(good, "\n"), []Snippet{writer}, nil, "reboot\n\n%pre", ""},
		{"crlf and mark", "\xef\xbb\xbf" + strings.ReplaceAll(good, "\n", "\r\n"), []Snippet{writer}, nil, "vmaccepteula\ninstall", "\r"},
		{"carelessly converted", strings.ReplaceAll(good, "\n", "\r\r\n"), []Snippet{writer}, nil, "vmaccepteula\ninstall", "\r"},
		{"own password", with("%include /tmp/rootpw", hash), []Snippet{writer, other}, []string{"0 warning include-missing"}, "pre/20-x.sh", "pre/30-rootpw.py"},
		{"neither", with("%include /tmp/rootpw\n", ""), []Snippet{writer}, []string{"0 error rootpw-missing", "0 warning include-missing"}, "reboot", "pre/30-rootpw.py"},
		{"unseen include keeps the snippet", with("/tmp/rootpw", "/tmp/mine"), []Snippet{writer}, []string{"0 warning rootpw-missing", "4 note include-unseen"}, "pre/30-rootpw.py", ""},
		{"nobody writes", good, nil, []string{"4 error include-unwritten"}, "reboot", ""},
		{"own script writes", good + "%pre --interpreter=busybox\necho >/tmp/rootpw\n", nil, nil, "reboot", ""},
		{"include in the last line", with("%include /tmp/rootpw\n", "") + "%pre --interpreter=busybox\necho >/tmp/rootpw\n%include /tmp/rootpw", nil, nil, "%include /tmp/rootpw\n\n", ""},
		{"empty is not default", "", nil, []string{"0 error eula-missing", "0 error install-missing", "0 error rootpw-missing", "0 note network-missing", "0 warning reboot-missing"}, "", "vmaccepteula"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, findings, err := Render(Options{Kickstart: []byte(tt.ks), Builtin: tt.builtin})
			if err != nil {
				t.Fatal(err)
			}
			got := keys(findings)
			slices.Sort(got)
			slices.Sort(tt.want)
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if !strings.Contains(string(out), tt.has) || tt.hasNot != "" && strings.Contains(string(out), tt.hasNot) {
				t.Errorf("should have %q and not %q:\n%s", tt.has, tt.hasNot, out)
			}
		})
	}
}

func TestSnippetErrors(t *testing.T) {
	tests := []struct {
		section    Section
		name, body string
		line       int
		says       string
	}{
		{Pre, "a.sh", "echo\ninclude x\n", 2, `"include"`},
		{Pre, "a.py", "includes = 1", 1, `"include"`},
		{Post, "a.sh", "x\r\ny\r\n%postprocess", 3, `"%post"`},
		{Post, "a.sh", "cat <<EOF\n%include /x\nEOF\n", 2, `"%include"`},
		{Post, "a.sh", "%packages\n", 1, `"%packages"`},
		{Post, "a.sh", "%vmlicense_text\n", 1, `"%vmlicense_text"`},
		{Post, "a.sh", "%firstboot\n", 1, `"%firstboot"`},
		{Post, "a.sh", "x\n  %end\n", 2, "%end"},
		{Post, "a.sh", "x\xff\n", 1, "UTF-8"},
		{Post, "a.sh", "x\x00\n", 1, "zero byte"},
		{Post, "a.bash", "x\n", 0, ".sh"},
		{Post, "a", "x\n", 0, ".sh"},
		{Post, "a\n.sh", "x\n", 0, "ASCII"},
		{"later", "a.sh", "x\n", 0, "section"},
	}
	for _, tt := range tests {
		_, err := NewSnippet(tt.section, tt.name, []byte(tt.body))
		var e *SnippetError
		if !errors.As(err, &e) {
			t.Errorf("%s %q: got %v, want a SnippetError", tt.name, tt.body, err)
			continue
		}
		if e.Line != tt.line || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s %q: got %q, want line %d and %q", tt.name, tt.body, err, tt.line, tt.says)
		}
		// Render looks again: the fields may have been filled in by hand.
		_, _, err = Render(Options{User: []Snippet{{Section: tt.section, Name: tt.name, Interpreter: Busybox, Body: tt.body}}})
		if !errors.As(err, &e) && tt.name != "a.bash" && tt.name != "a" {
			t.Errorf("Render of %q: got %v, want a SnippetError", tt.body, err)
		}
	}
	for _, body := range []string{" include x\n", "echo include\n", "", "\tinclude", "# %include"} {
		if _, err := NewSnippet(Pre, "a.sh", []byte(body)); err != nil {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func TestLimits(t *testing.T) {
	big := bytes.Repeat([]byte("#\n"), MaxSnippetSize/2+1)
	if _, err := NewSnippet(Pre, "a.sh", big); !errors.Is(err, ErrTooLarge) {
		t.Errorf("snippet: got %v", err)
	}
	if _, _, err := Render(Options{Kickstart: make([]byte, MaxSize+1)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("kickstart: got %v", err)
	}
	if _, _, err := Render(Options{User: make([]Snippet, MaxSnippets+1)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("snippets: got %v", err)
	}
	large := snippet(t, Pre, "a.sh", string(big[:MaxSnippetSize]))
	if _, _, err := Render(Options{User: slices.Repeat([]Snippet{large}, 5)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("sum: got %v", err)
	}
}

func TestSnippetsFrom(t *testing.T) {
	fsys := fstest.MapFS{
		"pre/20-b.py":      {Data: []byte("x")},
		"pre/10-a.sh":      {Data: []byte("# writes: /tmp/a /tmp/b\n")},
		"pre/.hidden":      {Data: []byte("x")},
		"firstboot/1.sh":   {Data: []byte("x")},
		"esxi_netinit/x.c": {Data: []byte("x")},
	}
	got, err := SnippetsFrom(fsys)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range got {
		names = append(names, fmt.Sprintf("%s/%s %s %v", s.Section, s.Name, s.Interpreter, s.Writes))
	}
	want := []string{"pre/10-a.sh busybox [/tmp/a /tmp/b]", "pre/20-b.py python []", "firstboot/1.sh busybox []"}
	if !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
	fsys["post/README"] = &fstest.MapFile{}
	if _, err := SnippetsFrom(fsys); err == nil {
		t.Error("a file that is no script was taken")
	}
}

func FuzzRender(f *testing.F) {
	f.Add([]byte(good), []byte("echo\n"), []byte("pass"), "a.sh")
	f.Add([]byte(""), []byte(" include\r\n"), []byte("%pre"), "a.py")
	f.Add([]byte("%pre\ninclude x"), []byte("# writes: /tmp/rootpw"), []byte("\\"), "\\x.sh")
	f.Add([]byte("\r\r\n"), []byte("x\r\r\ny\r"), []byte("\r"), "a.sh")
	f.Add([]byte("vmaccepteula\\"), []byte("cat <<EOF\n"), []byte("'''"), "x y.sh")
	f.Fuzz(func(t *testing.T, ks, a, b []byte, name string) {
		var opts Options
		opts.Kickstart = ks
		if s, err := NewSnippet(Pre, "10-a.sh", a); err == nil {
			opts.Builtin = append(opts.Builtin, s)
		}
		if s, err := NewSnippet(Post, name, b); err == nil {
			opts.User = append(opts.User, s)
		}
		out, _, err := Render(opts)
		if err != nil {
			t.Fatalf("snippets were taken before: %v", err)
		}
		again, _, err := Render(opts)
		if err != nil || !bytes.Equal(out, again) {
			t.Fatal("not deterministic")
		}
		user := normalize(ks)
		if !bytes.HasPrefix(out, []byte(user)) {
			t.Fatal("the kickstart was changed")
		}
		// Every snippet arrives whole, in a section of its own.
		sections := parse(string(out)).sections
		for _, s := range opts.User {
			whole := slices.ContainsFunc(sections, func(sec section) bool {
				body := strings.Join(sec.body, "\n")
				want := fmt.Sprintf("# %s/%s\n%s", s.Section, s.Name, s.Body)
				return sec.header.name == "%post" && strings.TrimRight(body, "\n") == strings.TrimRight(want, "\n")
			})
			if !whole {
				t.Fatalf("snippet %q is not whole in\n%s", s.Body, out)
			}
		}
	})
}
