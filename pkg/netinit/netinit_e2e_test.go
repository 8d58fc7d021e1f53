//go:build e2e

package netinit

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// run gives the output and the exit code of a program that must end in time.
func run(t *testing.T, env []string, stdin, name string, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = env
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatalf("%s: %v", name, err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%s %q: no end", name, args)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// pythons are the oldest and the newest Python 3 at hand.
func pythons(t *testing.T) []string {
	t.Helper()
	first, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal("python3 is needed: ", err)
	}
	found := map[int]string{}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(filepath.Join(home, ".pyenv", "versions", "3.*", "bin", "python3"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range append(more, first) {
		out, code := run(t, os.Environ(), "", p, "-c", "import sys; print(sys.executable); print(sys.version_info[1])")
		lines := strings.Fields(out)
		if code != 0 || len(lines) != 2 {
			continue
		}
		minor, err := strconv.Atoi(lines[1])
		if err != nil {
			t.Fatal(err)
		}
		// The program itself: a wrapper of its name may need the user's PATH.
		found[minor] = lines[0]
	}
	if len(found) == 0 {
		t.Fatal("no Python 3 runs")
	}
	var minors []int
	for m := range found {
		minors = append(minors, m)
	}
	oldest, newest := slices.Min(minors), slices.Max(minors)
	t.Logf("Python 3.%d and 3.%d", oldest, newest)
	return slices.Compact([]string{found[oldest], found[newest]})
}

// TestPythonUnits runs all of them under each Python, but for random input,
// of which each Python has its part.
func TestPythonUnits(t *testing.T) {
	files, err := filepath.Glob("testdata/python/test_*.py")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	all := pythons(t)
	for i, python := range all {
		env := append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "TMPDIR="+memory(t), fmt.Sprintf("ESXI_FUZZ_PART=%d/%d", i, len(all)))
		for _, file := range files {
			t.Run(fmt.Sprintf("%d/%s", i, filepath.Base(file)), func(t *testing.T) {
				t.Parallel()
				out, code := run(t, env, "", python, "-W", "error", "-m", "unittest", "discover", "-s", "testdata/python", "-p", filepath.Base(file))
				if code != 0 || !strings.Contains(out, "OK") || strings.Contains(out, "Ran 0 tests") {
					t.Errorf("%s:\n%s", python, out)
				}
			})
		}
	}
}

// memory is a folder in memory, if that has room: the tests make many files
// that live for a moment only.
func memory(t *testing.T) string {
	const shared, enough = "/dev/shm", 2 << 30 // bytes
	var fs syscall.Statfs_t
	if err := syscall.Statfs(shared, &fs); err != nil || fs.Bavail*uint64(fs.Bsize) < enough {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(shared, "esxi-img-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Syntax that Python 3.5 lacks. Python 3.8 and later can tell.
func TestPythonSyntax(t *testing.T) {
	const program = `
import ast, sys
names = [line for line in sys.stdin.read().split("\n") if line]
for name in names:
    with open(name) as f:
        ast.parse(f.read(), name, feature_version=(3, 5))
    try:
        ast.parse("x: int = f'{1}'", feature_version=(3, 5))
    except SyntaxError:
        continue
    raise SystemExit("this Python does not check")
print(len(names), "files")
`
	var names []string
	err := filepath.WalkDir("files", func(name string, _ fs.DirEntry, err error) error {
		if filepath.Ext(name) == ".py" {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	all := pythons(t)
	out, code := run(t, nil, strings.Join(names, "\n"), all[len(all)-1], "-c", program)
	if code != 0 {
		t.Error(out)
	}
	// f-strings slip through: they are 3.6, and the check has no flag for them.
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, mark := range []string{` f"`, `(f"`, ` f'`, `(f'`, "capture_output", "dataclass"} {
			if strings.Contains(string(data), mark) {
				t.Errorf("%s: %q is newer than Python 3.5", name, mark)
			}
		}
	}
}

func TestShellcheck(t *testing.T) {
	scripts, err := filepath.Glob("files/*/*.sh")
	if err != nil || len(scripts) == 0 {
		t.Fatal(scripts, err)
	}
	out, code := run(t, os.Environ(), "", "shellcheck", append([]string{"-s", "dash"}, scripts...)...)
	if code != 0 {
		t.Error(out)
	}
}

// applets are those of ESXi's busybox that the scripts may use, and what is
// built into its shell.
const applets = "[ [[ ash echo false printf sh test true awk basename cat chmod cp cut date dd df du egrep env expr find grep gunzip gzip head hostname kill ln ls md5sum mkdir mktemp mv od ps readlink rm sed seq sha256sum sleep sort stat tail tar tee touch uniq unzip wc which xargs"

// host is a fake root with a PATH of its own.
type host struct {
	root, bin, python string
}

func newHost(t *testing.T, python string) host {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal("busybox is needed: ", err)
	}
	h := host{root: t.TempDir(), bin: t.TempDir(), python: python}
	for applet := range strings.FieldsSeq(applets) {
		if err := os.Symlink(busybox, filepath.Join(h.bin, applet)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(python, filepath.Join(h.bin, "python")); err != nil {
		t.Fatal(err)
	}
	h.stub(t, "logger", "exit 0\n")
	return h
}

// stub writes a command that notes how it was called.
func (h host) stub(t *testing.T, name, body string) {
	t.Helper()
	text := "#!" + filepath.Join(h.bin, "ash") + "\nprintf '%s\\n' \"" + name + " $*\" >>\"$ESXI_ROOT/calls\"\n" + body
	if err := os.WriteFile(filepath.Join(h.bin, name), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func (h host) write(t *testing.T, name, text string) {
	t.Helper()
	name = filepath.Join(h.root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (h host) read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(h.root, name))
	if err != nil {
		t.Error(err)
	}
	return string(data)
}

func (h host) exists(name string) bool {
	_, err := os.Stat(filepath.Join(h.root, name))
	return err == nil
}

// script runs a snippet as the installer does.
func (h host) script(t *testing.T, name string) (string, int) {
	t.Helper()
	data, err := fs.ReadFile(Snippets(), name)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), filepath.Base(name))
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	interpreter := filepath.Join(h.bin, "ash")
	if filepath.Ext(name) == ".py" {
		interpreter = h.python
	} else if err := os.WriteFile(file, append(h.fence(t), data...), 0o600); err != nil {
		t.Fatal(err)
	}
	out, code := run(t, []string{"PATH=" + h.bin, "ESXI_ROOT=" + h.root}, "", interpreter, file)
	if h.exists("forbidden") {
		t.Errorf("%s uses what ESXi lacks: %s", name, h.read(t, "forbidden"))
	}
	return out, code
}

// fence has a shell function for every applet that ESXi lacks, and for every
// stub: this busybox runs its own applets before it looks at PATH.
func (h host) fence(t *testing.T) []byte {
	t.Helper()
	out, code := run(t, nil, "", filepath.Join(h.bin, "ash"), "-c", "busybox --list")
	if code != 0 {
		t.Fatal(out)
	}
	allowed := strings.Fields(applets)
	var text strings.Builder
	fenced := 0
	for applet := range strings.FieldsSeq(out) {
		_, err := os.Stat(filepath.Join(h.bin, applet))
		switch {
		case slices.Contains(allowed, applet) || applet == "time" || strings.Contains(applet, "-"): // time is a keyword, the others no names of functions
		case err == nil:
			fmt.Fprintf(&text, "%s() { '%s' \"$@\"; }\n", applet, filepath.Join(h.bin, applet))
		default:
			fmt.Fprintf(&text, "%s() { echo '%s' >>\"$ESXI_ROOT/forbidden\"; return 127; }\n", applet, applet)
			fenced++
		}
	}
	if !strings.Contains(text.String(), "tr() {") || fenced < 50 {
		t.Fatalf("only %d applets are fenced off", fenced)
	}
	return []byte(text.String())
}

func TestDefaults(t *testing.T) {
	h := newHost(t, pythons(t)[0])
	h.write(t, "tmp/network", "network --bootproto=dhcp --device=vmnic7\n")
	for range 2 {
		if out, code := h.script(t, "pre/00-defaults.sh"); code != 0 {
			t.Fatal(code, out)
		}
	}
	if got := h.read(t, "tmp/network"); got != "network --bootproto=dhcp --device=vmnic7\n" {
		t.Errorf("an earlier script's file was changed: %q", got)
	}
	for _, name := range []string{"tmp/rootpw", "tmp/install"} {
		got := h.read(t, name)
		if !strings.HasPrefix(got, "# default of esxi-img\n#") || strings.Count(got, "\n") != 2 {
			t.Errorf("%s holds a command: %q", name, got)
		}
	}
}

// What the installer comes to when nothing of ours is loaded: it goes on where
// it can, and stops before a disk is touched where it can't.
func TestNothingLoaded(t *testing.T) {
	for _, python := range pythons(t) {
		h := newHost(t, python)
		for name, want := range map[string]int{
			"pre/20-metadata.py": 0, "pre/30-rootpw.py": 1, "pre/40-network.py": 0, "pre/50-install.py": 1, "pre/90-report.py": 0,
			"post/10-guard.py": 0, "post/20-bootbank.py": 0, "post/90-report.py": 0,
		} {
			if out, code := h.script(t, name); code != want || !strings.Contains(out, "not loaded") {
				t.Errorf("%s: exit code %d: %s", name, code, out)
			}
		}
	}
}
