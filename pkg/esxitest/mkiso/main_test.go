package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	efi, out := filepath.Join(dir, "grub.efi"), filepath.Join(dir, "out.iso")
	if err := os.WriteFile(efi, []byte("a boot program that isn't ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(context.Background(), []string{"-release", "8.0.3", "-arch", "arm64", "-efi", efi, out}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"BOOTAA64.EFI;1", "a boot program that isn't ours", "build=8.0.3-0.0.24022510"} {
		if !strings.Contains(string(got), want) {
			t.Errorf("the image lacks %q", want)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.iso")
	for want, args := range map[string][]string{
		"one OUT.iso is needed":      {},
		`no such size: "huge"`:       {"-size", "huge", out},
		`no such release: "5.5"`:     {"-release", "5.5", out},
		`no such architecture: "s"`:  {"-arch", "s", out},
		`no such flavour: "udf"`:     {"-flavour", "udf", out},
		`no such tool: "nero"`:       {"-tool", "nero", out},
		"needs xorriso or genisoima": {"-flavour", "joliet", "-tool", "builtin", out},
		"nowhere.efi":                {"-efi", "nowhere.efi", out},
	} {
		if err := run(context.Background(), args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", args, err, want)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%v left a file", args)
		}
	}
}
