//go:build e2e

package foreigntest

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Server is a program that answers others.
type Server struct {
	Program string // its file
	Args    []string
	Dir     string // where it runs; its log is there too, as Program's name.log
	// Ready is asked until it returns no error.
	Ready func(context.Context) error
}

// Run starts the server and waits until it is ready, 15 seconds at most. It is
// killed at the end of the test, after what uses it has ended.
func (s *Server) Run(t testing.TB) {
	t.Helper()
	name := filepath.Base(s.Program)
	logFile := filepath.Join(s.Dir, name+".log")
	out, err := os.Create(logFile)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), s.Program, s.Args...) //nolint:gosec // a server that was installed for this
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Dir = s.Dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	var how error
	go func() { how = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		_ = out.Close()
		if t.Failed() {
			const most = 4000 // bytes
			b, _ := os.ReadFile(logFile)
			t.Logf("%s says:\n%s", name, b[max(0, len(b)-most):])
		}
	})
	const tries, pause = 600, 25 * time.Millisecond
	for range tries {
		select {
		case <-ended:
			t.Fatalf("%s ended: %v", s.Program, how)
		case <-time.After(pause):
		}
		if err = s.Ready(t.Context()); err == nil {
			return
		}
	}
	t.Fatalf("%s does not get ready: %v", s.Program, err)
}

// Listens is Ready for a server at host:port.
func Listens(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// FreeAddress is a 127.0.0.1:port where nobody listens yet.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
