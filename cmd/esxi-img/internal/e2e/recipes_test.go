//go:build e2e && linux

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// recipesPage is what TestRecipes runs.
const recipesPage = "../../../../docs/recipes.md"

// recipeTimeout bounds the commands of one recipe, some of which start a
// machine.
const recipeTimeout = 6 * time.Minute

// recipe is a section of the page, with its commands as they stand there.
type recipe struct {
	title string
	shell []string // blocks of code
}

// readRecipes reads the page. The first blocks belong to every recipe.
func readRecipes(t *testing.T) (first recipe, all []recipe) {
	t.Helper()
	page, err := os.ReadFile(recipesPage)
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)\n```sh\n(.*?\n)```\n")
	for i, section := range regexp.MustCompile(`(?m)^## `).Split(string(page), -1) {
		title, text, _ := strings.Cut(section, "\n")
		r := recipe{title: title}
		for _, m := range block.FindAllStringSubmatch(text, -1) {
			r.shell = append(r.shell, m[1])
		}
		switch {
		case i == 0:
			first = r
		case len(r.shell) > 0:
			all = append(all, r)
		}
	}
	return first, all
}

// judges hold what a recipe left behind, by its title.
var judges = map[string]func(t *testing.T, s *site, output string){
	"OpenStack Ironic":              judgeIronic,
	"Metal3":                        judgeMetal3,
	"MAAS":                          judgeMAAS,
	"Tinkerbell":                    judgeTinkerbell,
	"Redfish virtual media":         judgeRedfish,
	"PXE and HTTP boot":             judgeNetboot,
	"VMware Workstation and Fusion": judgeWorkstation,
	"Nested labs":                   judgeNested,
	"USB stick":                     judgeStick,
}

// TestRecipes runs the commands of docs/recipes.md as they stand there, in a
// network and with folders of their own, and boots what comes out. Programs
// that Debian does not have only note how they were called.
func TestRecipes(t *testing.T) {
	if os.Getenv(insideEnv) == "" {
		t.Parallel()
		inside(t)
		return
	}
	first, all := readRecipes(t)
	medium := recipeMedium(t)
	for _, r := range all {
		judge := judges[r.title]
		if judge == nil {
			t.Errorf("nothing judges the recipe %q", r.title)
			continue
		}
		t.Run(r.title, func(t *testing.T) {
			s := newSite(t, medium)
			judge(t, s, s.run(t, append(first.shell, r.shell...)))
		})
	}
	if len(all) != len(judges) {
		t.Errorf("the page has %d recipes, of %d that there are", len(all), len(judges))
	}
}

// insideEnv says that the test runs in namespaces of its own.
const insideEnv = "ESXI_IMG_E2E_RECIPES"

// inside runs the test again in namespaces of its own, where addresses and
// ports are free and folders can be laid over others.
func inside(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", self, "-test.run=^TestRecipes$", "-test.v=true"}
	if only := os.Getenv("ESXI_IMG_E2E_RECIPE"); only != "" { // one of them, while it is written
		args[len(args)-2] += "/^" + only
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", args...)
	cmd.Env = append(os.Environ(), insideEnv+"=1", programEnv+"="+program)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, m := range regexp.MustCompile(`(?m)^ *--- .*$`).FindAllString(string(out), -1) {
		t.Log(strings.TrimSpace(m))
	}
}

// run runs blocks of code in one shell that stops at the first failure, and
// returns what they printed. What they leave in the background lives until the
// test ends.
func (s *site) run(t *testing.T, blocks []string) string {
	t.Helper()
	script := filepath.Join(t.TempDir(), "recipe.sh")
	if err := os.WriteFile(script, []byte("set -eux\n"+strings.Join(blocks, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), recipeTimeout)
	defer cancel()
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, "sh", script)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "PATH="+s.programs+":"+os.Getenv("PATH"), "HOME="+s.dir, "LC_ALL=C", "SSL_CERT_FILE="+s.ca, "MTOOLSRC=/dev/null")
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = time.Second // for what stays in the background with its output
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &output)
	}
	return escapes.ReplaceAllString(strings.ReplaceAll(output.String(), "\r", ""), "")
}

// call is how a program that is not here was called.
type call []string

// calls returns those of a program, in their order.
func (s *site) callsOf(t *testing.T, name string) (calls []call) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.calls, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if words := strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00"); words[0] == name {
			calls = append(calls, words)
		}
	}
	if len(calls) == 0 {
		t.Fatalf("%s was not called", name)
	}
	return calls
}

// value returns what follows the beginning in a word of the call.
func (c call) value(t *testing.T, beginning string) string {
	t.Helper()
	for _, word := range c {
		if v, ok := strings.CutPrefix(word, beginning); ok {
			return v
		}
	}
	t.Fatalf("%q has no %s…", c, beginning)
	return ""
}

// bindFile lays a file over another one.
func bindFile(t *testing.T, from, over string) {
	t.Helper()
	if err := syscall.Mount(from, over, "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(fmt.Errorf("bind %s to %s: %w", from, over, err))
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(over, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}
