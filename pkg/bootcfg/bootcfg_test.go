package bootcfg_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/bootcfg"
)

// stock has the shape of an installer's boot.cfg.
const stock = "bootstate=0\n" +
	"title=Loading ESXi installer\n" +
	"timeout=5\n" +
	"prefix=\n" +
	"kernel=/b.b00\n" +
	"kernelopt=runweasel cdromBoot\n" +
	"modules=/jumpstrt.gz --- /useropts.gz --- /k.b00 --- /imgdb.tgz\n" +
	"build=8.0.2-0.0.22380479\n" +
	"updated=0\n"

func parse(t testing.TB, text string) *bootcfg.Config {
	t.Helper()
	c, err := bootcfg.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func paths(c *bootcfg.Config) []string {
	var out []string
	for _, m := range c.Modules() {
		out = append(out, m.Path)
	}
	return out
}

func TestStock(t *testing.T) {
	c := parse(t, stock)
	for _, tc := range []struct{ name, got, want string }{
		{"kernel", c.Kernel(), "/b.b00"},
		{"title", c.Title(), "Loading ESXi installer"},
		{"prefix", c.Prefix(), ""},
		{"build", c.Build(), "8.0.2-0.0.22380479"},
		{"opts", fmt.Sprint(c.KernelOpts()), "[runweasel cdromBoot]"},
		{"modules", fmt.Sprint(paths(c)), "[/jumpstrt.gz /useropts.gz /k.b00 /imgdb.tgz]"},
		{"bytes", string(c.Bytes()), stock},
		{"findings", fmt.Sprint(c.Check()), "[]"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, tc.got, tc.want)
		}
	}
}

// TestLoaderRules has one case for each rule by which the loader reads lines.
func TestLoaderRules(t *testing.T) {
	for _, tc := range []struct {
		name, text, key, want string
		set                   bool
	}{
		{"LF", "kernel=/a\n", "kernel", "/a", true},
		{"CRLF", "kernel=/a\r\ntitle=x\r\n", "kernel", "/a", true},
		{"no last newline", "title=x\nkernel=/a", "kernel", "/a", true},
		{"no last newline after CRLF", "title=x\r\nkernel=/a", "kernel", "/a", true},
		{"no length limit", "title=" + strings.Repeat("x", 100_000) + "\n", "title", strings.Repeat("x", 100_000), true},
		{"no continuation", "title=a\\\nkernel=/b\n", "title", `a\`, true},
		{"comment", "#kernel=/a\n", "kernel", "", false},
		{"comment after blanks", " \t# kernel=/a\n", "kernel", "", false},
		{"later # is text", "title=a # b\n", "title", "a # b", true},
		{"white space folds in values", "title= a \t  b\v\fc  \n", "title", "a b c", true},
		{"white space before the key", " \t kernel=/a\n", "kernel", "/a", true},
		{"blank after =", "kernel=   /a\n", "kernel", "/a", true},
		{"blank before = is not recognised", "kernel =/a\n", "kernel", "", false},
		{"blanks around = are not recognised", "kernel = /a\n", "kernel", "", false},
		{"tab before = is not recognised", "kernel\t=/a\n", "kernel", "", false},
		{"blank alone before = is no key at all", " =/a\n", "kernel", "/a", true},
		{"first = splits", "kernelopt=ks=file:///KS.CFG\n", "kernelopt", "ks=file:///KS.CFG", true},
		{"no =", "kernel\n", "kernel", "", false},
		{"key in any case", "KerNel=/a\n", "kernel", "/a", true},
		{"asked in any case", "kernel=/a\n", "KERNEL", "/a", true},
		{"Unicode case is not ASCII case", "\u212aernel=/a\n", "kernel", "", false},
		{"last duplicate wins", "kernel=/a\nkernel=/b\n", "kernel", "/b", true},
		{"last duplicate wins though empty", "kernel=/a\nkernel=\n", "kernel", "", true},
		{"unknown key", "bootstate=1\n", "bootstate", "1", true},
		{"unknown key in any case, last wins", "BUILD=1\nbuild=2\n", "build", "2", true},
		{"k is kernel", "k=/a\n", "kernel", "/a", true},
		{"kernel is not kernelopt", "kernel=/a\n", "kernelopt", "", false},
		{"kernelo is kernelopt", "kernelo=x\n", "kernelopt", "x", true},
		{"n is nobootif", "n=1\n", "nobootif", "1", true},
		{"no is nobootif, not noquirks", "no=1\n", "noquirks", "", false},
		{"nor is norts", "nor=1\n", "norts", "1", true},
		{"t is title", "t=x\n", "title", "x", true},
		{"ti is title, not timeout", "ti=x\n", "timeout", "", false},
		{"tf is tftpblksize", "tf=512\n", "tftpblksize", "512", true},
		{"r is runtimewd", "r=1\n", "runtimewd", "1", true},
		{"runtimewdt is runtimewdtimeout", "runtimewdt=9\n", "runtimewdtimeout", "9", true},
		{"m is modules", "m=/a\n", "modules", "/a", true},
		{"p is prefix", "P=/x\n", "prefix", "/x", true},
		{"an abbreviation can win", "kernel=/a\nkern=/b\n", "kernel", "/b", true},
		{"empty key is kernel", "=/a\n", "kernel", "/a", true},
		{"longer than known is unknown", "kernelopts=x\n", "kernelopt", "", false},
		{"a BOM loses the first line", "\ufeffkernel=/a\n", "kernel", "", false},
		{"a BOM loses the first line only", "\ufefftitle=x\nkernel=/a\n", "kernel", "/a", true},
		{"NUL ends a line", "title=a\x00b\nkernel=/a\n", "title", "a", true},
		{"lone CR is white space", "title=a\rkernel=/b\n", "title", "a kernel=/b", true},
		{"no-break space is text", "title=\u00a0a\n", "title", "\u00a0a", true},
		{"empty file", "", "kernel", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := parse(t, tc.text)
			got, set := c.Get(tc.key)
			if got != tc.want || set != tc.set {
				t.Errorf("Get(%q) = %q, %v; want %q, %v", tc.key, got, set, tc.want, tc.set)
			}
			if string(c.Bytes()) != tc.text {
				t.Errorf("bytes changed: %q", c.Bytes())
			}
		})
	}
}

func TestModules(t *testing.T) {
	for _, tc := range []struct {
		name, value string
		want        []bootcfg.Module
	}{
		{"order and duplicates are kept", "/b --- /a --- /b", []bootcfg.Module{{Path: "/b"}, {Path: "/a"}, {Path: "/b"}}},
		{"no blanks needed", "/a---/b", []bootcfg.Module{{Path: "/a"}, {Path: "/b"}}},
		{"a name with --- is split", "/my---mod.tgz --- /b", []bootcfg.Module{{Path: "/my"}, {Path: "mod.tgz"}, {Path: "/b"}}},
		{"---- yields -", "/a ---- --- /b", []bootcfg.Module{{Path: "/a"}, {Path: "-"}, {Path: "/b"}}},
		{"arguments", "/a x  y=1 --- /b", []bootcfg.Module{{Path: "/a", Args: "x y=1"}, {Path: "/b"}}},
		{"separator at the end", "/a ---", []bootcfg.Module{{Path: "/a"}}},
		{"separator at the start", "--- /a", []bootcfg.Module{{Path: "/a"}}},
		{"an empty entry eats a character", "/a --- ---/b", []bootcfg.Module{{Path: "/a"}, {Path: "b"}}},
		{"an empty entry eats a blank", "/a --- --- /b", []bootcfg.Module{{Path: "/a"}, {Path: "/b"}}},
		{"-- is a name", "/a --- --", []bootcfg.Module{{Path: "/a"}, {Path: "--"}}},
		{"nothing", "", nil},
		{"a separator alone", "---", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := parse(t, "modules="+tc.value+"\n").Modules()
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestResolve(t *testing.T) {
	for _, tc := range []struct{ name, cfg, dir, path, want string }{
		{"absolute", "prefix=\n", "/EFI/BOOT", "/b.b00", "b.b00"},
		{"absolute ignores prefix", "prefix=/x\n", "/EFI/BOOT", "/b.b00", "b.b00"},
		{"backslash is absolute", "prefix=/x\n", "/EFI/BOOT", `\d\b.b00`, "d/b.b00"},
		{"URL is absolute", "prefix=/x\n", "/EFI/BOOT", "http://h//b.b00", "http://h/b.b00"},
		{"prefix", "prefix=/x\n", "/EFI/BOOT", "b.b00", "x/b.b00"},
		{"prefix with slash", "prefix=/x/\n", "/EFI/BOOT", "b.b00", "x/b.b00"},
		{"prefix URL", "prefix=http://h/x\n", "/EFI/BOOT", "b.b00", "http://h/x/b.b00"},
		{"empty prefix is boot.cfg's directory", "prefix=\n", "/EFI/BOOT", "b.b00", "EFI/BOOT/b.b00"},
		{"no prefix is boot.cfg's directory", "", "EFI/BOOT", "b.b00", "EFI/BOOT/b.b00"},
		{"root", "", "/", "b.b00", "b.b00"},
		{"no directory", "", "", "b.b00", "b.b00"},
		{"blanks in a prefix go", "prefix=/a b\n", "", "c", "ab/c"},
		{"slashes merge", "", "", "//a///b", "a/b"},
		{"dots", "", "/EFI/BOOT", "../../../b.b00", "b.b00"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := parse(t, tc.cfg).Resolve(tc.dir, tc.path); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestParseSize(t *testing.T) {
	if _, err := bootcfg.Parse(make([]byte, bootcfg.MaxSize)); err != nil {
		t.Error(err)
	}
	var size *bootcfg.SizeError
	if _, err := bootcfg.Parse(make([]byte, bootcfg.MaxSize+1)); !errors.As(err, &size) || size.Size != bootcfg.MaxSize+1 {
		t.Errorf("got %v", err)
	}
}

func TestCheck(t *testing.T) {
	const ok = "kernel=/b.b00\nmodules=/k.b00\n"
	manyModules := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, " --- /m%d", i)
		}
		return "kernel=/b.b00\nmodules=" + b.String()[5:] + "\n"
	}
	// "/b.b00" and a blank have 7 characters, "/k.b00" likewise.
	kernelText := func(n int) string { return ok + "kernelopt=" + strings.Repeat("x", n-7) + "\n" }
	moduleText := func(n int) string { return "kernel=/b.b00\nmodules=/k.b00 " + strings.Repeat("x", n-7) + "\n" }
	for _, tc := range []struct{ name, text, want string }{
		{"clean", ok, ""},
		{"no kernel", "modules=/k.b00\n", "0 error no kernel is set"},
		{"empty kernel", ok + "kernel=\n", "3 error no kernel is set; 1 warning line 3 overrides this kernel"},
		{"no modules", "kernel=/b.b00\n", "0 error no modules are set"},
		{"empty modules", "kernel=/b.b00\nmodules=\n", "2 error no modules are set"},
		{"200 modules", manyModules(200), ""},
		{"201 modules", manyModules(201), "2 warning 201 modules; the loader is known to take 200"},
		{"kernel text at the limit", kernelText(4095), ""},
		{"kernel text over the limit", kernelText(4096), "3 error kernel and kernelopt have 4096 characters, the loader takes 4095"},
		{"module text at the limit", moduleText(255), ""},
		{"module text over the limit", moduleText(256), `2 error module 1, "/k.b00", has 256 characters, the loader takes 255`},
		{"a prefix counts", "prefix=/x\nkernel=/b.b00\nmodules=k.b00 " + strings.Repeat("x", 247) + "\n", `3 error module 1, "k.b00", has 256 characters, the loader takes 255`},
		{"timeout at the limit", ok + "timeout=127\n", ""},
		{"timeout over the limit", ok + "timeout=128\n", `3 error timeout="128" is not within 0 to 127 seconds`},
		{"timeout negative", ok + "timeout=-1\n", `3 error timeout="-1" is not within 0 to 127 seconds`},
		{"timeout huge", ok + "timeout=99999999999999999999\n", `3 error timeout="99999999999999999999" is not within 0 to 127 seconds`},
		{"timeout empty", ok + "timeout=\n", ""},
		{"timeout not a number", ok + "timeout=5s\n", `3 error timeout="5s" is not a number`},
		{"overridden but not a number", ok + "timeout=x\ntimeout=5\n", `3 error timeout="x" is not a number; 3 warning line 4 overrides this timeout`},
		{"abbreviated and not a number", ok + "n=yes\n", `3 warning the loader takes the key "n" for nobootif; 3 error nobootif="yes" is not a number`},
		{"negative number", ok + "errtimeout=-1\n", ""},
		{"blank before =", ok + "title = x\n", `3 warning "title" is not recognised: there is a blank before the "="`},
		{"blank before = of an unknown key", ok + "foo = x\n", ""},
		{"BOM", "\ufeffbootstate=0\n" + ok, "1 warning a byte order mark hides the first line from the loader"},
		{"NUL", ok + "title=a\x00b\n", "3 warning the loader does not see what follows a NUL byte"},
		{"module twice", "kernel=/b.b00\nmodules=/a --- /A\n", `2 warning module "/A" is loaded twice`},
		{"name with ---", "kernel=/b.b00\nmodules=/a---b\n", `0 warning 1 paths without a leading slash, "b" first, start from the directory of this boot.cfg, as no prefix is set; 2 warning "---" without blanks around it splits a name all the same`},
		{"overrun", "kernel=/b.b00\nmodules=/a --- ---\n", `2 error two separators "---" end the list: the loader reads past its end`},
		{"relative", "kernel=b.b00\nmodules=/k.b00\n", `0 warning 1 paths without a leading slash, "b.b00" first, start from the directory of this boot.cfg, as no prefix is set`},
		{"relative with prefix", "kernel=b.b00\nmodules=k.b00\nprefix=/x\n", ""},
		{"acpitables", ok + "acpitables=/a\n", "3 warning the boot stops here if Secure Boot is on"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got, want []string
			for _, f := range parse(t, tc.text).Check() {
				got = append(got, fmt.Sprintf("%d %s %s", f.Line, f.Severity, f.Message))
				if f.Cure == "" || !strings.HasPrefix(f.String(), "boot.cfg") {
					t.Errorf("no cure or no file name: %v", f)
				}
			}
			if tc.want != "" {
				want = strings.Split(tc.want, "; ")
				if strings.HasPrefix(tc.want, "2 warning 201 modules") {
					want = []string{tc.want}
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}
