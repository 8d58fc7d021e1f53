package option_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
)

func TestSize(t *testing.T) {
	for text, want := range map[string]option.Size{
		"0": 0, "4096": 4096, "16M": 16 << 20, "16MiB": 16 << 20, "1 GiB": 1 << 30, "3k": 3 << 10, "2TB": 2 << 40,
	} {
		var s option.Size
		if err := s.Set(text); err != nil || s != want {
			t.Errorf("Set(%q) = %d, %v, want %d", text, s, err, want)
		}
		var again option.Size
		if err := again.Set(s.String()); err != nil || again != s {
			t.Errorf("%q does not read back: %v, %v", s.String(), again, err)
		}
	}
	for _, text := range []string{"", "M", "-1", "1.5G", "12 parsecs", "9999999999G", "1KMG"} {
		var s option.Size
		if err := s.Set(text); err == nil {
			t.Errorf("Set(%q) = %d, want an error", text, s)
		}
	}
}

// resolve parses flags in a folder that holds the given configuration.
func resolve(t *testing.T, config string, args ...string) (option.Profile, error) {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	if config != "" {
		if err := os.WriteFile(option.DefaultConfig, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var p option.ProfileFlags
	f := pflag.NewFlagSet("test", pflag.ContinueOnError)
	p.AddFlags(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	return p.Resolve(f)
}

func TestResolve(t *testing.T) {
	defaults := option.Defaults()
	changed := func(change func(*option.Profile)) option.Profile {
		p := defaults
		change(&p)
		return p
	}
	yes, no := true, false
	abs := filepath.Join(string(filepath.Separator), "srv", "x.sh")
	for name, c := range map[string]struct {
		config string
		args   []string
		want   option.Profile
	}{
		"nothing":    {"", nil, defaults},
		"empty file": {"# nothing\n", nil, defaults},
		"file": {
			"iso: a.iso\nheadroom: 1M\nsectorSize: 4096\nverifyPayloads: false\n", nil,
			changed(func(p *option.Profile) {
				p.ISO, p.Headroom, p.SectorSize, p.VerifyPayloads = "a.iso", 1<<20, 4096, false
			}),
		},
		"flags win": {
			"output: a.img\nheadroom: 1M\n",
			[]string{"-o", "b.img", "--headroom", "2M"},
			changed(func(p *option.Profile) { p.Output, p.Headroom = "b.img", 2<<20 }),
		},
		"lists add up": {
			"pre: [a.sh, \"" + filepath.ToSlash(abs) + "\"]\n",
			[]string{"--pre", "b.sh"},
			changed(func(p *option.Profile) { p.Pre = []string{"a.sh", filepath.ToSlash(abs), "b.sh"} }),
		},
		"metadata":         {"metadata: required\n", nil, changed(func(p *option.Profile) { p.Metadata = "required" })},
		"metadata by flag": {"metadata: required\n", []string{"--metadata", "optional"}, defaults},
		"host file": {
			"installDisk: smallest\noverwritevmfs: true\nhostKernelopts: [a=b]\nserialConsole: true\nkeep: true\nrootPasswordFile: pw\n", nil,
			changed(func(p *option.Profile) {
				p.InstallDisk, p.OverwriteVMFS, p.HostKernelOpts, p.SerialConsole, p.Keep, p.RootPasswordFile = "smallest", &yes, []string{"a=b"}, true, true, "pw"
			}),
		},
		"host flags win": {
			"installDisk: smallest\noverwritevmfs: true\nhostKernelopts: [a=b]\nserialConsole: true\nkeep: true\nrootPasswordFile: pw\n",
			[]string{"--keep=false", "--install-disk", "image", "--overwritevmfs=false", "--overwritevsan", "--host-kernelopt", "c", "--serial-console=false", "--root-password-hash", "$6$x"},
			changed(func(p *option.Profile) {
				p.InstallDisk, p.OverwriteVMFS, p.OverwriteVSAN, p.HostKernelOpts, p.RootPasswordHash = "image", &no, &yes, []string{"a=b", "c"}, "$6$x"
			}),
		},
		"password file wins": {
			"rootPasswordHash: $6$x\n",
			[]string{"--root-password-file", "pw"},
			changed(func(p *option.Profile) { p.RootPasswordFile = "pw" }),
		},
		"no checks": {"", []string{"--no-verify-payloads"}, changed(func(p *option.Profile) { p.VerifyPayloads = false })},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := resolve(t, c.config, c.args...)
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, %v\nwant %+v", got, err, c.want)
			}
		})
	}
}

func TestBadConfigurationIsNamed(t *testing.T) {
	for config, want := range map[string]string{
		"isoo: x\n":                  "field isoo not found",
		"headroom: plenty\n":         "line 1: \"plenty\" is not a size",
		"pre: 7\n":                   "line 1",
		"rootPassword: x\n":          "field rootPassword not found",
		"overwritevmfs: perhaps\n":   "line 1",
		strings.Repeat("#", 1<<20+1): "over the limit",
	} {
		_, err := resolve(t, config)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), option.DefaultConfig) {
			t.Errorf("%.20q: %v, want %q", config, err, want)
		}
	}
}

func TestOneRootPassword(t *testing.T) {
	for config, args := range map[string][]string{
		"": {"--root-password-hash", "$6$Canary", "--root-password-file", "x"},
		"rootPasswordHash: $6$Canary\nrootPasswordFile: x\n": nil,
	} {
		_, err := resolve(t, config, args...)
		if !errors.Is(err, option.ErrTwoPasswords) || strings.Contains(err.Error(), "Canary") {
			t.Errorf("%q %q: %v", config, args, err)
		}
	}
}

// The README's example is a configuration that is read.
func TestREADMEsConfiguration(t *testing.T) {
	readme, err := os.ReadFile("../../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(readme), "```yaml\n")
	example, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatal("the README has no configuration")
	}
	p, err := resolve(t, example)
	if err != nil || p.ISO == "" || p.Headroom != 64<<20 || len(p.KernelOpts) != 1 || len(p.Firstboot) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
}
