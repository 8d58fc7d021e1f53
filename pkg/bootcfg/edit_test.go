package bootcfg_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/bootcfg"
)

type edit func(*bootcfg.Config) error

func add(opt string) edit { return func(c *bootcfg.Config) error { return c.AddKernelOpt(opt) } }

func remove(name string) edit {
	return func(c *bootcfg.Config) error { c.RemoveKernelOpt(name); return nil }
}

func module(path string) edit {
	return func(c *bootcfg.Config) error { return c.AppendModule(path) }
}

func set(key, value string) edit {
	return func(c *bootcfg.Config) error { return c.Set(key, value) }
}

func opts(o ...string) edit {
	return func(c *bootcfg.Config) error { return c.SetKernelOpts(o) }
}

func TestEdit(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		edit       edit
		want       string
	}{
		{"append an option", "kernelopt=a b\n", add("ks=x"), "kernelopt=a b ks=x\n"},
		{"present already", "kernelopt=a  b\n", add("b"), "kernelopt=a  b\n"},
		{"replace in place", "kernelopt=a  ks=old \t b\n", add("ks=new"), "kernelopt=a  ks=new \t b\n"},
		{"replace a bare option", "kernelopt=a ks b\n", add("ks=new"), "kernelopt=a ks=new b\n"},
		{"replace once", "kernelopt=x=1 a  x=2 b x\n", add("x=3"), "kernelopt=x=3 a b\n"},
		{"names have a case", "kernelopt=Ks=1\n", add("ks=2"), "kernelopt=Ks=1 ks=2\n"},
		{"several at once", "kernelopt=a\n", add(" b  c=1 "), "kernelopt=a b c=1\n"},
		{"none", "kernelopt=a\n", add("  "), "kernelopt=a\n"},
		{"empty line", "kernelopt=\r\nx=1\r\n", add("a"), "kernelopt=a\r\nx=1\r\n"},
		{"white space around survives", " kernelopt= \t a  \r\n", add("b"), " kernelopt= \t a b  \r\n"},
		{"cdromBoot stays", "kernelopt=cdromBoot runweasel\n", add("ks=cdrom:/KS.CFG"), "kernelopt=cdromBoot runweasel ks=cdrom:/KS.CFG\n"},
		{"the last duplicate is edited", "kernelopt=a\nKERNELOPT=b\ntitle=x\n", add("c"), "kernelopt=a\nKERNELOPT=b c\ntitle=x\n"},
		{"an abbreviation that wins is edited", "kernelopt=a\nkernelo=b\n", add("c"), "kernelopt=a\nkernelo=b c\n"},
		{"a line that is not recognised is left", "kernelopt = a\n", add("b"), "kernelopt = a\nkernelopt=b\n"},
		{"a comment is left", "#kernelopt=a\n", add("b"), "#kernelopt=a\nkernelopt=b\n"},
		{"no line, LF", "title=x\n", add("a"), "title=x\nkernelopt=a\n"},
		{"no line, CRLF", "title=x\r\ntimeout=5\r\n", add("a"), "title=x\r\ntimeout=5\r\nkernelopt=a\r\n"},
		{"no line, mostly CRLF", "a=1\r\nb=1\r\nc=1\n", add("a"), "a=1\r\nb=1\r\nc=1\nkernelopt=a\r\n"},
		{"no line, no last newline", "title=x", add("a"), "title=x\nkernelopt=a\n"},
		{"no line, no last newline, CRLF", "a=1\r\ntitle=x", add("a"), "a=1\r\ntitle=x\r\nkernelopt=a\r\n"},
		{"no line, empty file", "", add("a"), "kernelopt=a\n"},
		{"a BOM hides the line", "\ufeffkernelopt=a\n", add("b"), "\ufeffkernelopt=a\nkernelopt=b\n"},
		{"last line without newline", "kernelopt=a", add("b"), "kernelopt=a b"},
		{"before a NUL", "kernelopt=a\x00z\n", add("b"), "kernelopt=a b\x00z\n"},

		{"remove the first", "kernelopt=a  b\tc\n", remove("a"), "kernelopt=b\tc\n"},
		{"remove the middle", "kernelopt=a  b\tc\n", remove("b"), "kernelopt=a\tc\n"},
		{"remove the last", "kernelopt=a  b\tc \n", remove("c"), "kernelopt=a  b \n"},
		{"remove the only", "kernelopt= a \n", remove("a"), "kernelopt=  \n"},
		{"remove with value, all", "kernelopt=x=1 a x=2 x\n", remove("x"), "kernelopt=a\n"},
		{"remove by whole name", "kernelopt=cdromBoot cdrom\n", remove("cdrom"), "kernelopt=cdromBoot\n"},
		{"remove what is not there", "kernelopt=a  b\n", remove("c"), "kernelopt=a  b\n"},
		{"remove without a line", "title=x", remove("c"), "title=x"},

		{"append a module", "modules=/a  --- /b\n", module("/ks.tgz"), "modules=/a  --- /b --- /ks.tgz\n"},
		{"append after arguments", "modules=/a x\n", module("/b"), "modules=/a x --- /b\n"},
		{"module present in another case", "modules=/a --- /KS.TGZ x --- /b\n", module("/ks.tgz"), "modules=/a --- /KS.TGZ x --- /b\n"},
		{"module present with a backslash", "modules=\\ks.tgz\n", module("/ks.tgz"), "modules=\\ks.tgz\n"},
		{"module present as another's argument", "modules=/a /b\n", module("/b"), "modules=/a /b --- /b\n"},
		{"after a separator", "modules=/a ---\r\n", module("/b"), "modules=/a --- /b\r\n"},
		{"after two separators", "modules=/a --- ---\n", module("/b"), "modules=/a --- --- /b\n"},
		{"first module", "modules=\n", module("/b"), "modules=/b\n"},
		{"no modules line", "title=x\r\n", module("/b"), "title=x\r\nmodules=/b\r\n"},
		{"the last duplicate of modules", "modules=/a\nmodules=/b\n", module("/a"), "modules=/a\nmodules=/b --- /a\n"},

		{"set", "title=a  b\r\n", set("title", "c"), "title=c\r\n"},
		{"set keeps an equal value's spelling", "title= a \t b \n", set("title", "a  b"), "title= a \t b \n"},
		{"set the last", "prefix=/a\nprefix=/b\n", set("PREFIX", "/c"), "prefix=/a\nprefix=/c\n"},
		{"set to nothing", "prefix=/a\n", set("prefix", ""), "prefix=\n"},
		{"set to nothing without a line", "a=1\n", set("prefix", ""), "a=1\nprefix=\n"},
		{"set an unknown key", "a=1\n", set("bootstate", "1"), "a=1\nbootstate=1\n"},
		{"set folds", "title=\n", set("title", " a \r b "), "title=a b\n"},
		{"set all options", "kernelopt=a b\n", opts("c", "d=1"), "kernelopt=c d=1\n"},
		{"set equal options", "kernelopt=a \t b\n", opts("a", "b"), "kernelopt=a \t b\n"},
		{"set no options", "kernelopt=a b\n", opts(), "kernelopt=\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := parse(t, tc.text)
			for _, times := range []string{"once", "twice"} {
				if err := tc.edit(c); err != nil {
					t.Fatal(err)
				}
				if got := string(c.Bytes()); got != tc.want {
					t.Fatalf("%s: got %q, want %q", times, got, tc.want)
				}
			}
			c = parse(t, tc.want)
			if err := tc.edit(c); err != nil || string(c.Bytes()) != tc.want {
				t.Errorf("edited again after parsing: %q, %v", c.Bytes(), err)
			}
		})
	}
}

func TestEditRefuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		edit edit
		want string
	}{
		{"option with a newline", add("a\nkernel=/evil"), `bootcfg: kernel option "a\nkernel=/evil": byte 0x0a cannot`},
		{"option with a NUL", add("a\x00"), "byte 0x00 cannot"},
		{"options with a newline", opts("a\nb"), "byte 0x0a cannot"},
		{"empty module", module(""), "a module without a path cannot"},
		{"module with a blank", module("/a b"), "white space in a path cannot"},
		{"module with a blank at its end", module("/a "), "white space in a path cannot"},
		{"module with ---", module("/a---b"), `"---" in a path cannot`},
		{"module with a NUL", module("/a\x00"), "byte 0x00 cannot"},
		{"module too long", module("/" + strings.Repeat("a", 255)), "256 characters, at most 255"},
		{"value with a newline", set("title", "a\nb"), "byte 0x0a cannot"},
		{"empty key", set("", "a"), `key "" cannot`},
		{"key with a blank", set("kernel ", "a"), `key "kernel " cannot`},
		{"key with =", set("a=b", "a"), `key "a=b" cannot`},
		{"comment as key", set("#a", "a"), `key "#a" cannot`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := parse(t, stock)
			err := tc.edit(c)
			if !errors.Is(err, bootcfg.ErrNotExpressible) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if string(c.Bytes()) != stock {
				t.Errorf("changed: %q", c.Bytes())
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{stock, "", "\n", "kernel=/a", "\ufeffk=1\r\n", "modules=/a --- ---", "=\x00=\n", "modules=---- a---", "timeout=-\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := bootcfg.Parse(b)
		if err != nil {
			if len(b) <= bootcfg.MaxSize {
				t.Fatal(err)
			}
			return
		}
		for _, m := range c.Modules() {
			if got := c.Resolve("/EFI/BOOT", m.Path); strings.HasPrefix(got, "/") && !strings.Contains(got, "://") {
				t.Errorf("Resolve(%q) = %q", m.Path, got)
			}
			if strings.Contains(m.Path, "---") || m.Path == "" {
				t.Errorf("module %q", m.Path)
			}
		}
		if v, ok := c.Get("kernel"); ok && v != strings.Join(asciiFields(v), " ") {
			t.Errorf("kernel %q is not folded", v)
		}
		_ = c.Check()
		if !bytes.Equal(c.Bytes(), b) {
			t.Error("an unedited file changed")
		}
	})
}

func asciiFields(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(" \t\n\v\f\r", r) })
}

// FuzzEdit: editing twice changes nothing more, the loader sees what was asked
// for, and the lines that the edit is not about survive byte for byte.
func FuzzEdit(f *testing.F) {
	for _, s := range []string{stock, "", "kernelopt=a", "modules=/a ---", "modules=/a --- ---\r\nk", "kernelo=x=1 x=2\x00\nmodules=-"} {
		f.Add([]byte(s), "ks=file:///KS.CFG", "/ks.tgz", "x")
	}
	f.Fuzz(func(t *testing.T, b []byte, opt, mod, drop string) {
		c, err := bootcfg.Parse(b)
		if err != nil {
			return
		}
		before := paths(c)
		added := c.AddKernelOpt(opt) == nil
		name, _, _ := strings.Cut(opt, "=")
		if one := asciiFields(opt); added && len(one) == 1 && !slices.Contains(c.KernelOpts(), one[0]) {
			t.Errorf("%q is not among %q", one[0], c.KernelOpts())
		}
		appended := c.AppendModule(mod) == nil
		if after := paths(c); appended && !slices.Equal(after, before) && !slices.Equal(after, append(before, mod)) {
			t.Errorf("modules %q became %q", before, after)
		}
		if drop != name {
			c.RemoveKernelOpt(drop)
		}
		once := string(c.Bytes())
		checkSurvivors(t, string(b), once)

		again, err := bootcfg.Parse([]byte(once))
		if err != nil {
			return // it grew past the limit
		}
		for _, opt := range asciiFields(opt) {
			if name, _, _ := strings.Cut(opt, "="); name == drop {
				return // what one edit adds, the other removes
			}
		}
		if added != (again.AddKernelOpt(opt) == nil) || appended != (again.AppendModule(mod) == nil) {
			t.Error("the second edit is refused")
		}
		if drop != name {
			again.RemoveKernelOpt(drop)
		}
		if string(again.Bytes()) != once {
			t.Errorf("not idempotent:\n%q\n%q", once, again.Bytes())
		}
	})
}

// checkSurvivors wants at most two lines changed, and only where lines were
// added may the last one have got a line ending.
func checkSurvivors(t *testing.T, before, after string) {
	t.Helper()
	was, is := strings.SplitAfter(before, "\n"), strings.SplitAfter(after, "\n")
	if was[len(was)-1] == "" {
		was = was[:len(was)-1]
	}
	if is[len(is)-1] == "" {
		is = is[:len(is)-1]
	}
	if len(is) < len(was) || len(is) > len(was)+2 {
		t.Fatalf("%d lines became %d", len(was), len(is))
	}
	changed := 0
	for i := range was {
		got := is[i]
		if i == len(was)-1 && len(is) > len(was) && !strings.HasSuffix(was[i], "\n") {
			got = strings.TrimSuffix(got, "\n")
			if got != was[i] {
				got = strings.TrimSuffix(got, "\r")
			}
		}
		if got != was[i] {
			changed++
			key, _, _ := strings.Cut(was[i], "=")
			key = strings.ToLower(strings.TrimSpace(key))
			if key != "kernelopt"[:min(9, len(key))] && key != "modules"[:min(7, len(key))] {
				t.Errorf("line %d changed: %q to %q", i+1, was[i], is[i])
			}
		}
	}
	if changed > 2 {
		t.Errorf("%d lines changed", changed)
	}
}
