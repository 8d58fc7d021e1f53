//go:build e2e && linux

package sigstoretest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/esxi-img/esxi-img/pkg/foreigntest"
)

// inside is set in the environment of a test program that has its own network.
const inside = "ESXI_IMG_E2E_INSIDE"

// Main is a TestMain: it runs the tests in a network namespace of their own,
// where there is loopback and nothing else, and in a process namespace, so that
// no server outlives them. Ports are free there, and whoever asks the Internet
// fails. What has to be fetched is fetched before, by prepare.
func Main(m *testing.M, prepare ...func(context.Context) error) {
	code := 1
	if os.Getenv(inside) == "" { //nolint:forbidigo // this is a main function
		code = again(prepare)
	} else if err := loopbackUp(); err != nil {
		fmt.Fprintln(os.Stderr, "bring up loopback:", err)
	} else {
		code = m.Run()
	}
	os.Exit(code) //nolint:forbidigo // as above
}

// Install builds the programs: for Main. It takes some minutes the first time.
func Install(programs ...foreigntest.Program) func(context.Context) error {
	return func(ctx context.Context) error {
		// Two at once: while one is linked, another compiles; more would compile
		// the same packages again and again.
		errs, two := make([]error, len(programs)), make(chan struct{}, 2)
		var wg sync.WaitGroup
		for i, p := range programs {
			two <- struct{}{}
			wg.Go(func() {
				_, errs[i] = p.Path(ctx)
				<-two
			})
		}
		wg.Wait()
		return errors.Join(errs...)
	}
}

// again runs this program once more, inside.
func again(prepare []func(context.Context) error) int {
	for _, p := range prepare {
		if err := p(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cmd := exec.CommandContext(context.Background(), "env", append([]string{inside + "=1", self}, os.Args[1:]...)...) //nolint:gosec // this program
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN} // to bring up loopback
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
	}
	// The signal comes when the thread ends that started the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1)
	default:
		fmt.Fprintln(os.Stderr, "run the tests in a network namespace:", err)
		return 1
	}
}

// loopbackUp is "ip link set lo up".
func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	request, err := unix.NewIfreq("lo")
	if err == nil {
		request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		err = unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, request)
	}
	return errors.Join(err, unix.Close(s))
}
