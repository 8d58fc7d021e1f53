package option_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
)

const (
	hostsSchema = "../../../../docs/schema/hosts.v1.json"
	oneHost     = "version: 1\nhosts:\n  - name: esx1\n"
)

// readHosts reads a list that lies in a folder of its own, whose name it
// returns too.
func readHosts(t testing.TB, text string, flags option.Customize) (*option.Hosts, string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hosts.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := option.ReadHosts(path, flags)
	return h, filepath.Dir(path), err
}

func TestAHostsOwnWordsComeOnTop(t *testing.T) {
	yes := true
	flags := option.Customize{UserData: "cli/ud", Content: option.Content{KernelOpts: []string{"flag=1"}}}
	h, dir, err := readHosts(t, `version: 1
defaults:
  hostname: "{name}.example.com"
  configDrive: drives/{name}
  kickstart: all.cfg
  userData: all.ud
  rootPasswordFile: /abs/password
  serialConsole: true
  overwritevmfs: true
  kernelopts: [all=1, "host={name}"]
  configDriveAs: partition
hosts:
  - name: esx1
    mac: 00:25:B5:00:00:01
  - name: esx2
    mac: [00-25-b5-00-00-02, 0025.b500.0003]
    hostname: other.example.com
    configDrive: mine/{name}
    kickstart: own.cfg
    serialConsole: false
    kernelopts: [own=2]
    rootPasswordHash: $6$x
    configDriveSize: 2M
`, flags)
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	wantShared := option.Customize{
		Content:  option.Content{Kickstart: in("all.cfg"), KernelOpts: []string{"all=1", "flag=1"}},
		UserData: "cli/ud", ConfigDriveAs: "partition",
		Host: option.Host{RootPasswordFile: "/abs/password", OverwriteVMFS: &yes},
	}
	if got := compact(h.Shared); !reflect.DeepEqual(got, wantShared) {
		t.Errorf("shared is\n%+v\nwant\n%+v", got, wantShared)
	}
	want := []option.HostEntry{
		{Name: "esx1", Line: 13, MACs: []string{"00:25:b5:00:00:01"}, Own: option.Customize{
			Hostname: "esx1.example.com", ConfigDrive: in("drives/esx1"), Content: option.Content{KernelOpts: []string{"host=esx1"}}, Host: option.Host{SerialConsole: true},
		}},
		{Name: "esx2", Line: 15, MACs: []string{"00:25:b5:00:00:02", "00:25:b5:00:00:03"}, Own: option.Customize{
			Hostname: "other.example.com", ConfigDrive: in("mine/esx2"),
			Content: option.Content{Kickstart: in("own.cfg"), KernelOpts: []string{"host=esx2", "own=2"}},
			Host:    option.Host{RootPasswordHash: "$6$x"}, ConfigDriveAs: "partition", ConfigDriveSize: 2 << 20,
		}},
	}
	for i := range h.List {
		h.List[i].Own = compact(h.List[i].Own)
	}
	if !reflect.DeepEqual(h.List, want) {
		t.Errorf("the hosts are\n%+v\nwant\n%+v", h.List, want)
	}
	if h.Others != option.OthersSkip {
		t.Errorf("others is %q", h.Others)
	}
}

// compact makes empty lists nil.
func compact(c option.Customize) option.Customize {
	for _, list := range []*[]string{&c.Pre, &c.Post, &c.Firstboot, &c.Modules, &c.SSHKeys, &c.KernelOpts, &c.Host.HostKernelOpts} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	return c
}

// lists are lists of hosts, and why they are refused: "" if they are not.
func lists() map[string]struct{ text, want string } {
	hosts := func(lines ...string) string { return "version: 1\nhosts:\n  - " + strings.Join(lines, "\n  - ") + "\n" }
	return map[string]struct{ text, want string }{
		"one":          {oneHost, ""},
		"flow":         {hosts("{name: a.b-c_1, mac: 00:25:b5:00:00:01}", "{name: b, mac: [00:25:b5:00:00:02]}"), ""},
		"others":       {"others: install\n" + oneHost, ""},
		"no MACs":      {hosts("{name: a, mac: []}"), ""},
		"number":       {hosts("{name: \"1\"}"), ""},
		"anchor":       {"version: 1\ndefaults: &d {keep: true}\nhosts:\n  - name: a\n    <<: *d\n", ""},
		"64 letters":   {hosts("name: " + strings.Repeat("a", 64)), ""},
		"two of all":   {hosts("{name: a, pre: [x.sh], sshKeys: [k]}", "{name: b, metadata: required, configDriveSize: 1M, configDriveAs: partition}"), ""},
		"size, number": {hosts("{name: a, configDriveSize: 1048576}"), ""},

		"empty":             {"", "is empty"},
		"not YAML":          {"version: [", "line 1"},
		"two documents":     {oneHost + "---\n" + oneHost, "more than one YAML document"},
		"no version":        {"hosts: [{name: a}]", "version: is missing; this program knows version 1"},
		"version 2":         {"version: 2\nhosts: [{name: a}]", "version: 2 is not 1"},
		"no hosts":          {"version: 1\n", "hosts: none is listed"},
		"empty list":        {"version: 1\nhosts: []\n", "hosts: none is listed"},
		"too many":          {"version: 1\nhosts: [" + strings.Repeat("{name: a},", 2001) + "]", "2001 are over the limit of 2000"},
		"too long":          {oneHost + strings.Repeat("#", 1<<20), "over the limit of 1048576"},
		"unknown key":       {"version: 1\nhost: []\n", "line 2: field host not found"},
		"unknown of a host": {hosts("name: a\n    hostnam: x"), "line 4: field hostnam not found"},
		"unknown default":   {"version: 1\ndefaults: {name: x}\nhosts: [{name: a}]", "line 2: field name not found"},
		"key twice":         {hosts("name: a\n    name: b"), `line 4: mapping key "name" already defined at line 3`},
		"nothing there":     {hosts("name: a\n    hostname:"), "line 4: nothing stands there"},
		"text as list":      {hosts("{name: a, pre: x.sh}"), "line 3: cannot unmarshal"},
		"list as text":      {hosts("{name: a, kickstart: [x]}"), "line 3: cannot unmarshal"},
		"text as yes":       {hosts("{name: a, keep: maybe}"), "line 3: cannot unmarshal"},
		"others unknown":    {"others: no\n" + oneHost, `others: "no" is neither skip nor install`},

		"no name":         {hosts("{mac: 00:25:b5:00:00:01}"), `line 3: name: "" is not`},
		"name: folder":    {hosts("name: a", "name: b/c"), `line 4: name: "b/c" is not`},
		"name: up":        {hosts(`name: ".."`), "line 3: name: "},
		"name: dots":      {hosts("name: a..b"), "line 3: name: "},
		"name: backslash": {hosts(`name: a\b`), "line 3: name: "},
		"name: newline":   {hosts(`name: "a\nb"`), "line 3: name: "},
		"name: blank":     {hosts("name: a b"), "line 3: name: "},
		"name: hidden":    {hosts("name: .a"), "line 3: name: "},
		"name: dash":      {hosts("name: -a"), "line 3: name: "},
		"name: long":      {hosts("name: " + strings.Repeat("a", 65)), "line 3: name: "},
		"name: mark":      {hosts(`name: "{name}"`), "line 3: name: "},

		"MAC: short":      {hosts("{name: a, mac: 00:25:b5}"), "is not a MAC address such as"},
		"MAC: EUI-64":     {hosts("{name: a, mac: 00:25:b5:00:00:01:02:03}"), "is not a MAC address such as"},
		"MAC: words":      {hosts("{name: a, mac: ../../etc}"), "is not a MAC address such as"},
		"MAC: group":      {hosts("{name: a, mac: 01:25:b5:00:00:01}"), "is a group's address"},
		"MAC: zero":       {hosts("{name: a, mac: 00:00:00:00:00:00}"), "is no card's address"},
		"MAC: too many":   {hosts("{name: a, mac: [" + strings.Repeat("00:25:b5:00:00:01,", 17) + "]}"), "has 17, more than 16"},
		"MAC: mapping":    {hosts("{name: a, mac: {a: b}}"), "cannot unmarshal"},
		"two passwords":   {hosts("{name: a, rootPasswordHash: x, rootPasswordFile: y}"), "line 3: a: rootPasswordHash and rootPasswordFile"},
		"two by default":  {"version: 1\ndefaults: {rootPasswordHash: x, rootPasswordFile: y}\nhosts: [{name: a}]", "rootPasswordHash and rootPasswordFile"},
		"twins":           {hosts("name: a", "name: b", "name: a"), "line 5: the name a is that of a in line 3, too"},
		"twins, case":     {hosts("name: esx1", "name: ESX1"), "line 4: the name ESX1 is that of esx1 in line 3, too"},
		"twins, MAC":      {hosts("{name: a, mac: 00:25:b5:00:00:01}", "{name: b, mac: 00-25-B5-00-00-01}"), "line 4: the mac 00:25:b5:00:00:01 is that of a in line 3, too"},
		"MAC twice":       {hosts("{name: a, mac: [00:25:b5:00:00:01, 0025.b500.0001]}"), "is that of a in line 3, too"},
		"twins, host":     {hosts("{name: a, hostname: x}", "{name: b, hostname: X}"), "line 4: the host name X is that of a in line 3, too"},
		"twins, shared":   {"version: 1\ndefaults: {hostname: x}\nhosts: [{name: a}, {name: b}]", "the host name x is that of a in line 3, too"},
		"twins, anchored": {"version: 1\nhosts:\n  - &a {name: a}\n  - *a\n", "line 4: the name a is that of a in line 3, too"},
	}
}

func TestReadHosts(t *testing.T) {
	for name, c := range lists() {
		_, _, err := readHosts(t, c.text, option.Customize{})
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		case err != nil && strings.Contains(err.Error(), "option."):
			t.Errorf("%s: %v names a type of the program's", name, err)
		}
	}
}

func TestHostsSchema(t *testing.T) {
	s, err := jsonschema.NewCompiler().Compile(hostsSchema)
	if err != nil {
		t.Fatal(err)
	}
	beyond := []string{
		"too long", "two documents", "key twice", "MAC: group", "MAC: zero", "two by default",
		"twins", "twins, case", "twins, MAC", "MAC twice", "twins, host", "twins, shared", "twins, anchored",
	}
	for name, c := range lists() {
		var v any
		if yaml.Unmarshal([]byte(c.text), &v) != nil {
			continue
		}
		err := s.Validate(v)
		if c.want == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.want != "" && err == nil && !slices.Contains(beyond, name) {
			t.Errorf("%s: the schema takes it", name)
		}
	}
}

// TestDocumentedHosts holds that the list in the document is one, and that it
// names all keys.
func TestDocumentedHosts(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/customize.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, found := strings.Cut(string(text), "```yaml\n# hosts.yaml")
	example, _, _ = strings.Cut(example, "```")
	h, _, err := readHosts(t, "#"+example, option.Customize{})
	if !found || err != nil || len(h.List) < 2 {
		t.Errorf("%v", err)
	}
	for _, key := range keys(t) {
		if !strings.Contains(string(text), "`"+key+"`") {
			t.Errorf("the document does not name the key %s", key)
		}
	}
}

// keys are those that a list of hosts has for flags.
func keys(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(hostsSchema)
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Defs struct {
			Keys struct {
				Properties map[string]any `json:"properties"`
			} `json:"keys"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	return slices.Collect(maps.Keys(schema.Defs.Keys.Properties))
}

// TestEveryFlagIsAKey holds that a list of hosts can say what flags can.
func TestEveryFlagIsAKey(t *testing.T) {
	keys := keys(t)
	plural := map[string]string{"module": "modules", "kernelopt": "kernelopts", "host-kernelopt": "hostKernelopts", "ssh-key": "sshKeys"}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	(&option.CustomizeFlags{}).AddFlags(flags)
	n := 0
	flags.VisitAll(func(f *pflag.Flag) {
		n++
		key, ok := plural[f.Name]
		if !ok {
			words := strings.Split(f.Name, "-")
			for i := range words[1:] {
				words[i+1] = strings.ToUpper(words[i+1][:1]) + words[i+1][1:]
			}
			key = strings.Join(words, "")
		}
		if !slices.Contains(keys, key) {
			t.Errorf("--%s has no key %s", f.Name, key)
		}
		if _, _, err := readHosts(t, oneHost+"    "+key+": [[]]\n", option.Customize{}); err == nil || strings.Contains(err.Error(), "not found") {
			t.Errorf("the program does not know the key %s: %v", key, err)
		}
	})
	if n == 0 || n != len(keys) {
		t.Errorf("%d flags and %d keys", n, len(keys))
	}
}

func FuzzReadHosts(f *testing.F) {
	for _, c := range lists() {
		if len(c.text) < 1000 {
			f.Add(c.text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		h, _, err := readHosts(t, text, option.Customize{})
		if err != nil {
			return
		}
		for _, e := range h.List {
			if filepath.Base(e.Name) != e.Name || !filepath.IsLocal(e.Name) || e.Line < 1 {
				t.Errorf("%q in line %d", e.Name, e.Line)
			}
		}
	})
}
