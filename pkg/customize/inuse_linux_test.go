package customize_test

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/esxi-img/esxi-img/pkg/customize"
	"github.com/esxi-img/esxi-img/pkg/imager"
)

// TestInUse refuses the disk of a virtual machine that runs: QEMU locks bytes of
// it as is done here.
func TestInUse(t *testing.T) {
	b := image(t, imager.Profile{Headroom: 1 << 20})
	name := write(t, b)
	vm, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	lock := unix.Flock_t{Type: unix.F_RDLCK, Start: 100, Len: 1}
	if err := unix.FcntlFlock(vm.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
		t.Fatal("this file system has no locks: ", err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	c := customize.Changes{Hostname: "x"}
	if _, err := customize.WriteFile(t.Context(), f, c, customize.WriteOptions{Output: name}); !errors.Is(err, customize.ErrInUse) {
		t.Errorf("%v", err)
	}
	if !bytes.Equal(read(t, name), b) {
		t.Error("the image changed")
	}
	if err := vm.Close(); err != nil {
		t.Fatal(err)
	}
	writeFile(t, name, c, customize.WriteOptions{Output: name})
}
