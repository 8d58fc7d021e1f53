//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/pkg/tardisk"
)

// hosts are the scenarios: a folder each, with host.json (the machine),
// metadata (the files of its config drive), expect.json (what it becomes), and
// for some module (what a module of the user's holds) and kickstart.cfg.
const hosts = "../../../../testdata/host"

// TestHost installs ESXi on a modelled machine with the built image, boots it
// as often as it wants, and compares what the host has become.
func TestHost(t *testing.T) {
	if err := goRun("build", "-trimpath", "-o", client(), "./standin/client"); err != nil {
		t.Fatal(err)
	}
	scenarios, err := filepath.Glob(filepath.Join(hosts, "*", "host.json"))
	if err != nil || len(scenarios) == 0 {
		t.Fatal("no scenarios: ", err)
	}
	for _, python := range pythons(t) {
		t.Run("python"+python.version, func(t *testing.T) {
			python.prepare(t)
			for _, file := range scenarios {
				dir := filepath.Dir(file)
				t.Run(filepath.Base(dir), func(t *testing.T) {
					t.Parallel()
					live(t, python, dir)
				})
			}
		})
	}
}

// lifeTimeout bounds one machine's life. Most take some seconds; one on which
// no command ever works takes a minute.
const lifeTimeout = 10 * time.Minute

// live gives a scenario's machine its life and lets the stand-in judge it.
func live(t *testing.T, python python, scenario string) {
	t.Helper()
	img := hostImage(t, scenario)
	work := filepath.Join(t.TempDir(), "machine")
	ctx, cancel := context.WithTimeout(t.Context(), lifeTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "python3", "-B", filepath.Join("standin", "machine.py"),
		"--image", img, "--scenario", scenario, "--python", python.cache, "--work", work).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// hostConfig is the part of host.json about the image.
type hostConfig struct {
	Medium string   `json:"medium"` // the release, as mkiso names it
	Build  []string `json:"build"`  // more arguments of the build
	// Customize are arguments of customize, which follows the build, if any,
	// and writes another file. A path of the scenario's begins with "./".
	Customize []string `json:"customize"`
}

// images that scenarios share, by their arguments.
var images struct {
	sync.Mutex
	made map[string]string
}

// hostImage builds the image that a scenario asks for.
func hostImage(t *testing.T, scenario string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(scenario, "host.json"))
	if err != nil {
		t.Fatal(err)
	}
	config := hostConfig{Medium: "8.0.2"}
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	args := slices.Clone(config.Build)
	if _, err := os.Stat(filepath.Join(scenario, "kickstart.cfg")); err == nil {
		args = append(args, "--kickstart", filepath.Join(scenario, "kickstart.cfg"))
	}
	if _, err := os.Stat(filepath.Join(scenario, "module")); err == nil {
		args = append(args, "--module", packModule(t, filepath.Join(scenario, "module")))
	}
	custom := slices.Clone(config.Customize)
	for i, arg := range custom {
		if strings.HasPrefix(arg, "./") {
			custom[i] = filepath.Join(scenario, arg)
		}
	}
	images.Lock()
	defer images.Unlock()
	key := config.Medium + " " + strings.Join(args, " ") + " -> " + strings.Join(custom, " ")
	if images.made == nil {
		images.made = map[string]string{}
	}
	if images.made[key] == "" {
		medium := filepath.Join(workDir, "host-"+config.Medium+".iso")
		if _, err := os.Stat(medium); err != nil {
			run(t, mkiso(), "-size", string(small), "-release", config.Medium, medium)
		}
		img := filepath.Join(workDir, fmt.Sprintf("host-%d.img", len(images.made)))
		run(t, program, append([]string{"build", medium, "--output", img, "--quiet"}, args...)...)
		if len(custom) > 0 {
			from := img
			img = filepath.Join(workDir, fmt.Sprintf("host-%d-custom.img", len(images.made)))
			run(t, program, append([]string{"customize", from, "--output", img, "--quiet"}, custom...)...)
		}
		images.made[key] = img
	}
	return images.made[key]
}

// packModule makes a module of a folder's files.
func packModule(t *testing.T, dir string) string {
	t.Helper()
	var entries []tardisk.Entry
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		entries = append(entries, tardisk.Entry{Path: filepath.ToSlash(rel), Data: data})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	if err := tardisk.Write(&packed, entries, time.Unix(0, 0).UTC()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "OWN.TGZ")
	if err := os.WriteFile(file, packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// python is an interpreter that hosts may have.
type python struct {
	version, program string
	cache            string // a copy, with what else every host has
}

// pythons are the oldest and the newest Python 3 at hand: ESXi's are of 3.5
// and later.
func pythons(t *testing.T) []python {
	t.Helper()
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	candidates, err := filepath.Glob(filepath.Join(home, ".pyenv", "versions", "3.*", "bin", "python3"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]string{}
	for _, name := range append(candidates, "python3") {
		out, err := exec.CommandContext(t.Context(), name, "-c", "import sys; print(sys.version_info[1], sys.executable)").Output()
		minor, program, ok := strings.Cut(strings.TrimSpace(string(out)), " ")
		if err != nil || !ok {
			continue
		}
		if n, err := strconv.Atoi(minor); err == nil {
			found[n] = program
		}
	}
	var minors []int
	for n := range found {
		minors = append(minors, n)
	}
	if len(minors) == 0 {
		t.Fatal("there is no Python 3")
	}
	var out []python
	for _, n := range slices.Compact([]int{slices.Min(minors), slices.Max(minors)}) {
		version := "3." + strconv.Itoa(n)
		out = append(out, python{version: version, program: found[n], cache: filepath.Join(workDir, "python"+version)})
	}
	return out
}

// prepare copies the interpreter and busybox, from where each host's root gets
// them as links.
func (p python) prepare(t *testing.T) {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal("busybox is needed: ", err)
	}
	run(t, "python3", "-B", filepath.Join("standin", "root.py"), p.program, busybox, client(), p.cache)
}

// client is what stands in a host's root for each of ESXi's programs.
func client() string { return filepath.Join(workDir, "standin-client") }
