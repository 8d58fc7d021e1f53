//go:build e2e && linux

package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/pkg/blockdev/blockdevtest"
	"github.com/esxi-img/esxi-img/pkg/esxitest"
	"github.com/esxi-img/esxi-img/pkg/registry/server"
)

// Addresses of the names that the page uses.
const (
	webAddress      = "192.0.2.1"
	registryAddress = "192.0.2.2"
	bmcAddress      = "192.0.2.3"
)

// ownFolder is that of the host that is started, on the web server.
const ownFolder = "01-52-54-00-00-00-01"

// www is what the web server shows.
const www = "/srv/www"

// elsewhere are programs of the page that Debian does not have, or that need
// what is not here.
var elsewhere = []string{"baremetal", "kubectl", "maas", "vmware-vdiskmanager", "vmrun", "virt-install", "govc"}

// site is a place where the page's names mean something.
type site struct {
	medium   string
	dir      string // where the recipe is run
	programs string // first of PATH
	calls    string // a file each call of a program that is not here
	ca       string // PEM, of the registry
	stick    string // the device of a USB stick
	bmc      *controller
}

// newSite makes one for as long as the test takes.
func newSite(t *testing.T, medium string) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{medium: medium, dir: filepath.Join(dir, "here"), programs: filepath.Join(dir, "bin"), calls: filepath.Join(dir, "calls")}
	for _, d := range []string{s.dir, s.programs, s.calls} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	mount(t, "/srv", "mode=0755")
	mount(t, "/var/lib/misc", "mode=0777") // dnsmasq's leases
	mount(t, "/run", "mode=0755")          // and its number
	for _, d := range []string{www, "/srv/iso"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	copyFile(t, medium, "/srv/iso/VMware-VMvisor-Installer-8.0U2-22380479.x86_64.iso", 0o644)
	hosts := filepath.Join(dir, "hosts")
	writeText(t, hosts, "127.0.0.1 localhost\n"+registryAddress+" registry.example\n"+bmcAddress+" bmc1.example\n", 0o644)
	bindFile(t, hosts, "/etc/hosts")
	if _, err := os.Stat("/dev/kvm"); err == nil {
		bindFile(t, "/dev/null", "/dev/kvm") // so that every machine runs the same
	}
	s.addPrograms(t)
	s.addStick(t)
	network(t)
	s.serve(t)
	return s
}

func (s *site) addPrograms(t *testing.T) {
	t.Helper()
	if err := os.Symlink(program, filepath.Join(s.programs, "esxi-img")); err != nil {
		t.Fatal(err)
	}
	writeText(t, filepath.Join(s.programs, "sudo"), "#!/bin/sh\nexec \"$@\"\n", 0o700)
	for _, name := range elsewhere {
		script := "#!/bin/sh\nn=$(ls '" + s.calls + "' | wc -l)\n" +
			`printf '%s\0' "${0##*/}" "$@" > '` + s.calls + `'/$(printf %03d "$n")` + "\n"
		writeText(t, filepath.Join(s.programs, name), script, 0o700)
	}
}

// addStick makes /dev/disk/by-id/usb-STICK.
func (s *site) addStick(t *testing.T) {
	t.Helper()
	s.stick = blockdevtest.New(t, 256<<20, blockdevtest.Options{}).Path
	mount(t, "/dev/disk", "mode=0755")
	if err := os.Mkdir("/dev/disk/by-id", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(s.stick, "/dev/disk/by-id/usb-STICK"); err != nil {
		t.Fatal(err)
	}
}

func writeText(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// network makes eth1, with all addresses, in the test's own network.
func network(t *testing.T) {
	t.Helper()
	if _, err := net.InterfaceByName("eth1"); err == nil {
		return
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil { // as in a container
		run(t, "mkdir", "-p", "/dev/net")
		run(t, "mknod", "/dev/net/tun", "c", "10", "200")
	}
	run(t, "ip", "link", "set", "lo", "up")
	run(t, "ip", "tuntap", "add", "eth1", "mode", "tap")
	for _, a := range []string{webAddress, registryAddress, bmcAddress} {
		run(t, "ip", "address", "add", a+"/24", "dev", "eth1")
	}
	run(t, "ip", "link", "set", "eth1", "up")
}

// serve starts a web server, a registry, and a host's management controller.
func (s *site) serve(t *testing.T) {
	t.Helper()
	listen(t, webAddress+":80", nil, http.FileServer(http.Dir(www)))

	pair, text := certificate(t)
	s.ca = filepath.Join(s.programs, "ca.pem")
	writeText(t, s.ca, text, 0o600)
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	s.bmc = &controller{dir: t.TempDir()}
	listen(t, bmcAddress+":443", config, s.bmc)

	root := t.TempDir()
	registry, err := server.New(root, server.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", registryAddress+":443")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- registry.Serve(ctx, l, config) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, registry.Close()); err != nil {
			t.Error(err)
		}
	})
}

func listen(t *testing.T, address string, config *tls.Config, h http.Handler) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, TLSConfig: config, ReadHeaderTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() {
		if config == nil {
			ended <- srv.Serve(l)
		} else {
			ended <- srv.ServeTLS(l, "", "")
		}
	}()
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

// certificate makes one that is its own authority.
func certificate(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "recipes"}, DNSNames: []string{"registry.example", "bmc1.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(text)
}

// recipeGRUB reads every file of what it was started from: a disk, a CD, or
// what boot.cfg names on the web server.
const recipeGRUB = `
echo "E2E-BEGIN $cmdpath"
if regexp '^\((tftp|http)' "$cmdpath"; then
  if test -z "$net_default_ip"; then net_bootp; fi
  NETWORK
else
  regexp --set=1:volume '^(\(.*\))' "$cmdpath"
  if search --no-floppy --set=cd --file /KS.CFG; then volume="($cd)"; fi
  for f in $volume/* $volume/.* $volume/*/* $volume/*/*/*; do
    if test -f "$f"; then sha256sum "$f"; fi
  done
fi
echo "E2E-END"
halt
`

// recipeMedium is an installer ISO whose boot program, on the disk, in the
// folder and on the CD, is GRUB.
func recipeMedium(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	folder := filepath.Join(dir, "folder")
	run(t, program, "build", plain.iso(t, small, ""), "--format", "netboot", "--output", folder, "--quiet", "--install-disk", "smallest", "--prefix", "/x")
	var reads []string
	names := namedByBootCfg(t, filepath.Join(folder, "boot.cfg"), "/x")
	for _, name := range append(names, ownFolder+"/boot.cfg", ownFolder+"/esxiks.tgz") {
		// GRUB gives up early where the machine is slow.
		file := "(http," + webAddress + ")/esxi/" + name
		reads = append(reads, "if ! sha256sum "+file+"; then sha256sum "+file+"; fi")
	}
	efi := filepath.Join(dir, "grub.efi")
	standalone(t, efi, strings.Replace(recipeGRUB, "NETWORK", strings.Join(reads, "\n  "), 1), "part_gpt fat iso9660 search efinet tftp http")
	grub, err := os.ReadFile(efi)
	if err != nil {
		t.Fatal(err)
	}
	medium := filepath.Join(workDir, "recipes.iso")
	if err := os.WriteFile(medium, esxitest.Bytes(esxitest.Replace("EFIBOOT.IMG", bootFloppy(t, efi)), esxitest.WithEFI(grub)), 0o600); err != nil {
		t.Fatal(err)
	}
	return medium
}
