package main

import (
	"flag"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/esxi-img/esxi-img/pkg/esxitest"
	"github.com/esxi-img/esxi-img/signing/fakesigstore"
)

var update = flag.Bool("update", false, "rewrite what the scripts expect")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"esxi-img": func() {
			// A test runner may have left INT ignored.
			signal.Reset(os.Interrupt)
			os.Exit(run())
		},
	})
}

// TestScripts runs the program as users do: each script is a story with its
// commands, what they print, and how they end.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "../../testdata/script",
		UpdateScripts: *update,
		Setup: func(e *testscript.Env) error {
			// testscript's own, /no-home, root would make; and whoever is not root
			// could then not read it.
			e.Setenv("HOME", filepath.Join(e.WorkDir, ".tmp", "home"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"mkiso":      mkiso,
			"exit":       exit,
			"truncate":   truncate,
			"only":       only,
			"serve":      serve,
			"stopserve":  stopserve,
			"sigstore":   sigstore,
			"damagedisk": damagedisk,
		},
	})
}

// mkiso FILE [drop=PATH] [damage=PATH] [replace=PATH:FILE] [release=NAME[:BUILD]]
// [arch=ARCH] [bootcfg=OLD:NEW] writes a synthetic installer ISO.
func mkiso(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: mkiso FILE [OPTION]...")
	}
	var opts []esxitest.Option
	for _, arg := range args[1:] {
		key, value, _ := strings.Cut(arg, "=")
		first, second, _ := strings.Cut(value, ":")
		switch key {
		case "drop":
			opts = append(opts, esxitest.Drop(value))
		case "damage":
			opts = append(opts, esxitest.Damage(value))
		case "replace":
			opts = append(opts, esxitest.Replace(first, []byte(ts.ReadFile(second))))
		case "bootcfg":
			opts = append(opts, esxitest.BootCfg(func(s string) string {
				if !strings.Contains(s, first) {
					ts.Fatalf("BOOT.CFG has no %q", first)
				}
				return strings.Replace(s, first, second, 1)
			}))
		case "release":
			r, ok := esxitest.FindRelease(first)
			if !ok {
				ts.Fatalf("no release %s", value)
			}
			if second != "" {
				r = r.WithBuild(second)
			}
			opts = append(opts, esxitest.WithRelease(r))
		case "arch":
			opts = append(opts, esxitest.WithArch(value))
		default:
			ts.Fatalf("mkiso: unknown option %s", arg)
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), esxitest.Bytes(opts...), 0o600))
}

// damagedisk DIR changes a byte of the largest blob of a layout; again, and it
// is what it was.
func damagedisk(ts *testscript.TestScript, _ bool, args []string) {
	var name string
	var most int64
	dir := ts.MkAbs(args[0])
	ts.Check(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > most {
			name, most = path, info.Size()
		}
		return err
	}))
	b, err := os.ReadFile(name)
	ts.Check(err)
	b[len(b)/2] ^= 1
	ts.Check(os.Chmod(name, 0o600))
	ts.Check(os.WriteFile(name, b, 0o600))
}

// exit CODE COMMAND... runs a command that has to end with that code.
func exit(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exit CODE COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// truncate FILE SIZE cuts a file.
func truncate(ts *testscript.TestScript, _ bool, args []string) {
	var size int64
	for _, c := range args[1] {
		size = size*10 + int64(c-'0')
	}
	ts.Check(os.Truncate(ts.MkAbs(args[0]), size))
}

// sigstore DIR starts a Sigstore instance and writes what names it into DIR:
// trusted_root.json and signing_config.json, and tokens of alice@example.com,
// token and expired. $SIGSTORE_URL is where its services are, and
// $GITHUB_TOKEN_URL where GitHub gives tokens to a job with github-secret.
func sigstore(ts *testscript.TestScript, _ bool, args []string) {
	s, err := fakesigstore.Start()
	ts.Check(err)
	ts.Defer(s.Close)
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	trust, err := s.TrustedRoot()
	ts.Check(err)
	config, err := s.SigningConfig()
	ts.Check(err)
	for name, text := range map[string]string{
		"trusted_root.json": string(trust), "signing_config.json": string(config),
		"token": s.Token("alice@example.com", time.Now().Add(time.Hour)) + "\n", "expired": s.Token("alice@example.com", time.Now().Add(-time.Hour)),
	} {
		ts.Check(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	ts.Setenv("SIGSTORE_URL", s.URL)
	ts.Setenv("GITHUB_TOKEN_URL", s.URL+fakesigstore.PathGitHub)
}

// only DIR NAME... checks that a folder holds those names and no others.
func only(ts *testscript.TestScript, _ bool, args []string) {
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	want := args[1:]
	for _, e := range entries {
		if !contains(want, e) {
			ts.Fatalf("%s was left in %s", e.Name(), args[0])
		}
	}
	if len(entries) != len(want) {
		ts.Fatalf("%s has %d entries, want %d", args[0], len(entries), len(want))
	}
}

func contains(names []string, e fs.DirEntry) bool {
	for _, n := range names {
		if n == e.Name() {
			return true
		}
	}
	return false
}
