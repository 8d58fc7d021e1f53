package kickstart

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const good = "vmaccepteula\ninstall --firstdisk=local --overwritevmfs\nnetwork --bootproto=dhcp\n%include /tmp/rootpw\nreboot\n"

var hash86 = strings.Repeat("aZ0./", 17) + "x"

// keys are the findings as "line severity rule".
func keys(findings []Finding) []string {
	var out []string
	for _, f := range findings {
		out = append(out, fmt.Sprintf("%d %s %s", f.Line, f.Severity, f.Rule))
	}
	return out
}

func with(old, fresh string) string { return strings.Replace(good, old, fresh, 1) }

func network(options string) string {
	return with("network --bootproto=dhcp", "network "+options)
}

func rootpw(rest string) string { return with("%include /tmp/rootpw", "rootpw "+rest) }

func TestLint(t *testing.T) {
	const statics = "--bootproto=static --ip=10.0.0.5 --netmask=255.255.255.0 --gateway=10.0.0.1 --hostname=h --nameserver=10.0.0.2"
	tests := []struct {
		name, in string
		want     []string // nil: none
	}{
		{"good", good, nil},
		{"crlf", strings.ReplaceAll(good, "\n", "\r\n"), nil},
		{"no last newline", strings.TrimSuffix(good, "\n"), nil},
		{"comments", "# c\n\n   # d\n" + good, nil},
		{"indented", strings.ReplaceAll(good, "install", "  install"), nil},
		{"empty", "", []string{"0 error install-missing", "0 error eula-missing", "0 error rootpw-missing", "0 note network-missing", "0 warning reboot-missing"}},

		// Commands.
		{"no install", with("install --firstdisk=local --overwritevmfs\n", ""), []string{"0 error install-missing"}},
		{"two installs", good + "install --firstdisk=local --overwritevmfs\n", []string{"6 error install-twice"}},
		{"install and upgrade", good + "upgrade --firstdisk=esx\n", []string{"6 error install-twice"}},
		{"install and include", good + "%include /tmp/install\n", []string{"6 error install-twice"}},
		{"install by include", with("install --firstdisk=local --overwritevmfs", "%include /tmp/install"), nil},
		{"network by include", with("network --bootproto=dhcp", "%include tmp/network"), nil},
		{"no eula", with("vmaccepteula\n", ""), []string{"0 error eula-missing"}},
		{"alias of eula", with("vmaccepteula", "accepteula"), nil},
		{"no rootpw", with("%include /tmp/rootpw\n", ""), []string{"0 error rootpw-missing"}},
		{"upgrade needs none", "accepteula\nupgrade --disk=mpx.vmhba0:C0:T0:L0\nreboot\n", nil},
		{"relative include", with("%include /tmp/rootpw", "%include tmp/rootpw"), nil},
		{"other include", with("/tmp/rootpw", "/x/y"), []string{"0 warning rootpw-missing", "4 note include-unseen"}},
		{"own include", with("/tmp/rootpw", "/x/y") + "%pre --interpreter=busybox\necho rootpw >/x/y\n", []string{"0 warning rootpw-missing"}},
		{"include of nothing", with("/tmp/rootpw", ""), []string{"0 error rootpw-missing", "4 error argument-missing"}},
		{"no reboot", with("reboot\n", ""), []string{"0 warning reboot-missing"}},
		{"no network", with("network --bootproto=dhcp\n", ""), []string{"0 note network-missing"}},
		{"unknown", good + "instal --firstdisk\n", []string{"6 error unknown-command"}},
		{"deprecated", good + "lang en_US\ntext\n", []string{"6 warning deprecated-command", "7 warning deprecated-command"}},
		{"dryrun", good + "dryrun\nparanoid\n", []string{"6 warning dryrun", "7 note paranoid"}},
		{"reboot twice", good + "reboot\n", []string{"6 note command-twice"}},
		{"keyboard", good + "keyboard German\n", nil},
		{"keyboard of nothing", good + "keyboard\n", []string{"6 error argument-missing"}},
		{"serial", good + "serialnum --esx=AAAAA-BBBBB-CCCCC-DDDDD-EEEEE\n", nil},
		{"bad serial", good + "vmserialnum --esx=AAAAA\n", []string{"6 error serial"}},
		{"no serial", good + "vmserialnum\n", []string{"6 error argument-missing"}},
		{"end", good + "%end\n", []string{"6 error end"}},
		{"quotes", good + "keyboard 'x\n", []string{"6 error quotes"}},
		{"continuation", with("install --firstdisk=local", "install --firstdisk=local \\\n"), []string{"2 error continuation", "2 error unknown-option", "2 warning vmfs"}},
		{"bom", "\xef\xbb\xbf" + good, []string{"0 error eula-missing", "1 error byte-order-mark", "1 error unknown-command"}},
		{"not ascii", good + "# Küche\n# Öl\n", []string{"6 warning not-ascii"}},
		{"not utf-8", good + "# K\xfcche\n", []string{"6 error not-utf8"}},
		{"control", good + "# \x01\n", []string{"6 error control-character"}},
		{"old Mac", good + "keyboard x\rreboot\n", []string{"6 error carriage-return", "6 error unknown-option"}},

		// install.
		{"no disk", with("--firstdisk=local ", ""), []string{"2 error disk-missing"}},
		{"disk and firstdisk", with("--firstdisk=local", "--firstdisk=local --disk=naa.1"), []string{"2 error option-conflict"}},
		{"drive", with("--firstdisk=local", "--drive=naa.1"), nil},
		{"disk", with("--firstdisk=local", "--disk=/vmfs/devices/disks/naa.1"), nil},
		{"linux disk", with("--firstdisk=local", "--disk=/dev/sda"), []string{"2 error disk-name"}},
		{"firstdisk alone", with("--firstdisk=local", "--firstdisk"), nil},
		{"firstdisk blank", with("--firstdisk=local", "--firstdisk local"), []string{"2 error unknown-option"}},
		{"firstdisk model", with("=local", "='ST 3120,mptsas,local'"), []string{"2 note firstdisk"}},
		{"firstdisk empty filter", with("=local", "=local,"), []string{"2 error firstdisk"}},
		{"firstdisk upper case", with("=local", "=LOCAL"), []string{"2 error firstdisk"}},
		{"firstdisk remote", with("=local", "=local,remote"), []string{"2 warning firstdisk-remote"}},
		{"vmfs conflict", with("--overwritevmfs", "--overwritevmfs --preservevmfs"), []string{"2 error option-conflict"}},
		{"novmfs conflict", with("--overwritevmfs", "--novmfsondisk --preservevmfs"), []string{"2 error option-conflict"}},
		{"neither vmfs", with(" --overwritevmfs", ""), []string{"2 warning vmfs"}},
		{"vsan", with("--overwritevmfs", "--overwritevmfs --overwritevsan"), []string{"2 warning overwritevsan"}},
		{"ignoressd", with("--firstdisk=local", "--disk=naa.1 --ignoressd"), []string{"2 error option-conflict"}},
		{"late options", with("--overwritevmfs", "--overwritevmfs --forceunsupportedinstall --systemdisk=naa.1 --repartitionsystemdisk --dpupcislots=1"), nil},
		{"repartition alone", with("--overwritevmfs", "--overwritevmfs --repartitionsystemdisk"), []string{"2 warning systemdisk"}},
		{"unknown option", with("--overwritevmfs", "--overwritevmfs --force"), []string{"2 error unknown-option"}},
		{"case of option", with("--overwritevmfs", "--overwriteVMFS"), []string{"2 error unknown-option", "2 warning vmfs"}},
		{"value of flag", with("--overwritevmfs", "--overwritevmfs=true"), []string{"2 error option-value"}},
		{"no value", with("--firstdisk=local", "--disk="), []string{"2 error option-value"}},
		{"option twice", with("--overwritevmfs", "--overwritevmfs --overwritevmfs"), []string{"2 warning option-twice"}},
		{"disk twice", with("--firstdisk=local", "--firstdisk=local --firstdisk=usb"), []string{"2 error option-twice"}},
		{"old words", with("--overwritevmfs", "--overwritevmfs cdrom --server=x"), []string{"2 warning deprecated-option", "2 warning deprecated-option"}},

		// clearpart and part.
		{"clearpart", good + "clearpart --firstdisk=local --overwritevmfs\n", nil},
		{"clearpart of nothing", good + "clearpart\n", []string{"6 error disk-missing"}},
		{"clearpart all", good + "clearpart --alldrives --overwritevmfs\n", []string{"6 warning clearpart-all"}},
		{"clearpart conflict", good + "clearpart --alldrives --drives=x\n", []string{"6 error option-conflict"}},
		{"part", good + "part data --ondisk=naa.1\n", nil},
		{"part of nothing", good + "part data\n", []string{"6 error disk-missing"}},
		{"part needs install", "vmaccepteula\ninstallorupgrade --firstdisk=local\nnetwork --bootproto=dhcp\n%include /tmp/rootpw\nreboot\npart data --onfirstdisk=local\n", []string{"6 error requires-install"}},

		// network.
		{"static", network(statics), nil},
		{"device name", network("--bootproto=dhcp --device=vmnic0"), nil},
		{"device mac", network("--bootproto=dhcp --device=00:11:22:AA:bb:cc --vlanid=4095 --addvmportgroup=1"), nil},
		{"device eth", network("--bootproto=dhcp --device=eth0"), []string{"3 error network-device"}},
		{"device dashes", network("--bootproto=dhcp --device=00-11-22-33-44-55"), []string{"3 error network-device"}},
		{"no bootproto", network("--device=vmnic0"), []string{"3 warning network-bootproto"}},
		{"bad bootproto", network("--bootproto=DHCP"), []string{"3 error network-bootproto"}},
		{"dhcp with ip", network("--bootproto=dhcp --ip=10.0.0.1 --netmask=255.0.0.0 --gateway=10.0.0.2"), []string{"3 error network-dhcp", "3 error network-dhcp", "3 error network-dhcp"}},
		{"dhcp with names", network("--bootproto=dhcp --hostname=h --nameserver=10.0.0.2"), []string{"3 warning network-dhcp", "3 warning network-dhcp"}},
		{"static bare", network("--bootproto=static"), []string{"3 error network-static", "3 error network-static", "3 warning network-gateway", "3 note network-hostname", "3 note network-nameservers"}},
		{"no gateway", network(strings.Replace(statics, "--gateway=10.0.0.1 ", "", 1)), []string{"3 warning network-gateway"}},
		{"foreign gateway", network(strings.Replace(statics, "--gateway=10.0.0.1", "--gateway=10.0.1.1", 1)), []string{"3 error network-gateway"}},
		{"own gateway", network(strings.Replace(statics, "--gateway=10.0.0.1", "--gateway=10.0.0.5", 1)), []string{"3 error network-gateway"}},
		{"broadcast", network(strings.Replace(statics, "--ip=10.0.0.5", "--ip=10.0.0.255", 1)), []string{"3 error network-address"}},
		{"network address", network(strings.Replace(statics, "--gateway=10.0.0.1", "--gateway=10.0.0.0", 1)), []string{"3 error network-address"}},
		{"prefix", network(strings.Replace(statics, "=255.255.255.0", "=24", 1)), []string{"3 error network-netmask"}},
		{"holes", network(strings.Replace(statics, "=255.255.255.0", "=255.0.255.0", 1)), []string{"3 error network-netmask"}},
		{"ipv6", network(strings.Replace(statics, "--ip=10.0.0.5", "--ip=2001:db8::1", 1)), []string{"3 error network-ipv6"}},
		{"loopback", network(strings.Replace(statics, "--ip=10.0.0.5", "--ip=127.0.0.1", 1)), []string{"3 error network-address", "3 error network-gateway"}},
		{"three name servers", network(statics + ",10.0.0.3,10.0.0.4"), []string{"3 warning network-nameservers"}},
		{"name server by name", network(strings.Replace(statics, "--nameserver=10.0.0.2", "--nameserver=dns", 1)), []string{"3 error network-address"}},
		{"host name", network(strings.Replace(statics, "--hostname=h", "--hostname=a_b", 1)), []string{"3 error network-hostname"}},
		{"vlan", network("--bootproto=dhcp --vlanid=4096"), []string{"3 error network-vlan"}},
		{"port group", network("--bootproto=dhcp --addvmportgroup=no"), []string{"3 error option-value"}},
		{"second network", good + "network --bootproto=dhcp --device=vmnic1\n", []string{"6 error network-twice"}},

		// rootpw.
		{"sha512", rootpw("--iscrypted $6$saltsalt$" + hash86), nil},
		{"sha512 with the longest salt", rootpw("--iscrypted '$6$" + strings.Repeat("s", 16) + "$" + hash86 + "'"), nil},
		{"salt too long", rootpw("--iscrypted $6$" + strings.Repeat("s", 17) + "$" + hash86), []string{"4 error rootpw-hash"}},
		{"hash too short", rootpw("--iscrypted $6$salt$" + hash86[1:]), []string{"4 error rootpw-hash"}},
		{"rounds", rootpw("--iscrypted $6$rounds=5000$salt$" + hash86), []string{"4 error rootpw-rounds"}},
		{"md5", rootpw("--iscrypted $1$salt$" + hash86[:22]), []string{"4 warning rootpw-weak"}},
		{"des", rootpw("--iscrypted abcdefghijklm"), []string{"4 warning rootpw-weak"}},
		{"bcrypt", rootpw("--iscrypted $2y$10$" + hash86[:53]), []string{"4 error rootpw-hash"}},
		{"plain and iscrypted", rootpw("--iscrypted CANARY"), []string{"4 error rootpw-hash"}},
		{"plain", rootpw("CANARY"), []string{"4 warning rootpw-plain"}},
		{"hash without iscrypted", rootpw("$6$salt$" + hash86), []string{"4 error rootpw-hash"}},
		{"two words", rootpw("CANARY CANARY"), []string{"4 error rootpw-words", "4 warning rootpw-plain"}},
		{"hash sign", rootpw("CAN#ARY"), []string{"4 error comment-in-word", "4 warning rootpw-plain"}},
		{"broken line", rootpw("\\\nCANARY"), []string{"4 error continuation", "4 warning rootpw-plain"}},
		{"none", rootpw(""), []string{"4 error argument-missing"}},
		{"empty", rootpw("''"), []string{"4 error argument-missing"}},
		{"rootpw and include", good + "rootpw --iscrypted $6$salt$" + hash86 + "\n", []string{"6 warning command-twice"}},

		// Sections.
		{"pre", good + "%pre --interpreter=busybox\necho\n", nil},
		{"python", good + "%post --interpreter=python --timeout=60 --ignorefailure=true\nx = 1\n", nil},
		{"firstboot", good + "%firstboot --interpreter=busybox\necho\n", []string{"6 note firstboot-secure-boot"}},
		{"no interpreter", good + "%pre\necho\n", []string{"6 warning interpreter-missing"}},
		{"bash", good + "%pre --interpreter=/bin/bash\necho\n", []string{"6 error interpreter"}},
		{"timeout", good + "%post --interpreter=busybox --timeout=1m\necho\n", []string{"6 error timeout"}},
		{"timeout of pre", good + "%pre --interpreter=busybox --timeout=1\necho\n", []string{"6 error unknown-option"}},
		{"ignorefailure", good + "%post --interpreter=busybox --ignorefailure=yes\necho\n", []string{"6 error option-value"}},
		{"empty section", good + "%pre --interpreter=busybox\n\n", []string{"6 note section-empty"}},
		{"end in section", good + "%pre --interpreter=busybox\necho\n%end\n", []string{"8 error end"}},
		{"unknown section", good + "%pre --interpreter=busybox\necho\n%packages\n%addon x\n", []string{"8 warning deprecated-command", "9 error unknown-section"}},
		{"unknown section in a script", good + "%pre --interpreter=busybox\necho\n%addon x\n", []string{"8 error unknown-section"}},
		{"commands after", "%pre --interpreter=busybox\necho\n" + good, []string{
			"0 error install-missing", "0 error eula-missing", "0 note network-missing",
			"3 error command-after-section", "4 error command-after-section", "5 error command-after-section",
		}},
		{"a script may reboot", good + "%firstboot --interpreter=busybox\nreboot\n  network --x\n", []string{"6 note firstboot-secure-boot"}},
		{"script writes a kickstart", good + "%pre --interpreter=busybox\ncat >/tmp/x <<EOF\nnetwork --bootproto=dhcp\n%end\nEOF\necho\n", nil},
		{"python writes a kickstart", good + "%pre --interpreter=python\nx = '''\nnetwork --bootproto=dhcp\n'''\n", nil},
		{"after a here-document", good + "%pre --interpreter=busybox\ncat <<'EOF'\nx\nEOF\nrootpw x\n", []string{"10 error command-after-section"}},
		{"include cuts", good + "%pre --interpreter=python\nincludes = 1\nprint(1)\n", []string{"7 error section-cut", "8 error section-cut"}},
		{"include word cuts", good + "%pre --interpreter=busybox\ninclude /x\necho\n", []string{"7 note include-unseen", "7 warning section-cut", "8 error section-cut"}},
		{"include in a here-document", good + "%pre --interpreter=busybox\ncat <<EOF\n%include /tmp/network\nEOF\necho\n", []string{
			"8 error network-twice", "8 error section-cut", "9 error section-cut", "10 error section-cut",
		}},
		{"percent pre in a script", good + "%pre --interpreter=busybox\n%prefix\necho\n", []string{"7 error section-cut", "8 error section-cut"}},
		{"include last", with("%include /tmp/rootpw\n", "") + "%pre --interpreter=busybox\necho\n%include /tmp/rootpw\n", []string{"7 error last-line-lost"}},
		{"include not last", with("%include /tmp/rootpw\n", "") + "%pre --interpreter=busybox\necho\n%include /tmp/rootpw\n\n", nil},
		{"commands after an include after a section", "%pre --interpreter=busybox\necho\n%include /tmp/network\n" + with("network --bootproto=dhcp\n", ""), nil},
		{"the last command", good + strings.Repeat("part d --ondisk=x\n", 251), nil},
		{"too many commands", good + strings.Repeat("part d --ondisk=x\n", 252), []string{"257 error too-many-commands"}},
		{"long line", good + "keyboard " + strings.Repeat("x", MaxLine) + "\n", []string{"6 error quotes"}},
		{"too large", strings.Repeat("#", MaxSize+1), []string{"0 error size"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			findings := Lint([]byte(tt.in), LintOptions{})
			got, want := keys(findings), slices.Clone(tt.want)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("got\n %s\nwant\n %s", strings.Join(got, "\n "), strings.Join(want, "\n "))
			}
			for _, f := range findings {
				if strings.Contains(f.String(), "CANARY") {
					t.Errorf("shows the password: %s", f)
				}
				if f.Message == "" || f.Reason == "" {
					t.Errorf("says nothing: %+v", f)
				}
			}
		})
	}
}

func TestLintIncludes(t *testing.T) {
	text := []byte(with("/tmp/rootpw", "/tmp/mine"))
	if got := keys(Lint(text, LintOptions{Includes: map[string]string{"/tmp/mine": "rootpw"}})); got != nil {
		t.Errorf("got %q, want none", got)
	}
}

func TestLintIsBounded(t *testing.T) {
	findings := Lint([]byte(strings.Repeat("install --x\n", MaxSize/12)), LintOptions{})
	if len(findings) > MaxFindings+1 {
		t.Errorf("%d findings, want at most %d", len(findings), MaxFindings+1)
	}
}

func TestSecrets(t *testing.T) {
	tests := []struct {
		in   string
		want string // "severity rule", "" for none
	}{
		{"rootpw CANARY", "error secret-rootpw"},
		{"  rootpw 'CANARY x'", "error secret-rootpw"},
		{"echo 'rootpw CANARY' >/tmp/rootpw", "error secret-rootpw"},
		{"echo \"rootpw $PW\" >/tmp/rootpw", ""},
		{"f.write('rootpw {}'.format(x))", ""},
		{"# rootpw is set by a script", ""},
		{"f.write(\"rootpw \" + x)", ""},
		{"print('the rootpw line is missing')", ""},
		{"printf 'vmaccepteula\\nrootpw CANARY\\n' >x", "error secret-rootpw"},
		{"rootpw --iscrypted $6$salt$" + hash86, "note secret-hash"},
		{"rootpw $6$salt$" + hash86, "error secret-rootpw"},
		{"rootpw --iscrypted CANARY", "error secret-rootpw"},
		{"wget http://user:CANARY@host/x", "error secret-url"},
		{"wget http://user@host/x", ""},
		{"wget http://$U:$P@host/x", ""},
		{"-----BEGIN OPENSSH PRIVATE KEY-----", "error secret-key"},
		{"-----BEGIN PUBLIC KEY-----", ""},
		{"serialnum --esx=AAAAA-BBBBB-CCCCC-DDDDD-EEEEE", "warning secret-license"},
		{"password=CANARY", "warning secret-assignment"},
		{`"api_key": "CANARY"`, "warning secret-assignment"},
		{"PASSWORD=$(cat x)", ""},
		{"password = read_password(META_DATA)", ""},
		{"vmaccepteula", ""},
	}
	for _, tt := range tests {
		got := ""
		for _, f := range Secrets([]byte(tt.in)) {
			got = fmt.Sprintf("%s %s", f.Severity, f.Rule)
			if strings.Contains(f.String(), "CANARY") {
				t.Errorf("%q: shows the secret: %s", tt.in, f)
			}
		}
		if got != tt.want {
			t.Errorf("Secrets(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func FuzzLint(f *testing.F) {
	for _, s := range []string{
		good, "", "%pre\n", "%pre\ninclude", "rootpw 'x", good + "%firstboot --interpreter=python\n'''\n%include x", "network --bootproto=static --ip=1.2.3.4 --netmask=255.255.255.255 --gateway=1.2.3.4\n",
		"\xef\xbb\xbf%post <<\n", "install --firstdisk=,\r\n", "echo 'rootpw \"", "a://b:c@d", "%include \\\n",
	} {
		f.Add([]byte(s))
	}
	for _, s := range splitCases() {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, findings := range [][]Finding{Lint(text, LintOptions{}), Secrets(text)} {
			lines := strings.Count(string(text), "\n") + 1
			last := 0
			for _, x := range findings {
				if x.Line < last || x.Line > lines || x.Severity.rank() == 0 || x.Rule == "" || x.Message == "" || x.Reason == "" {
					t.Fatalf("finding %+v in %d lines", x, lines)
				}
				last = x.Line
			}
			if len(findings) > MaxFindings+1 {
				t.Fatalf("%d findings", len(findings))
			}
		}
	})
}
