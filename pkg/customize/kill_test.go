package customize_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/pkg/customize"
	"github.com/esxi-img/esxi-img/pkg/imager"
)

// killedEnv names the image that this program customises when it is started
// anew to be killed.
const killedEnv = "ESXI_IMG_TEST_CUSTOMIZE"

var killedChange = customize.Changes{Hostname: "esx1", KernelOpts: []string{"a=b"}}

func TestMain(m *testing.M) {
	name := os.Getenv(killedEnv)
	if name == "" {
		os.Exit(m.Run())
	}
	f, err := os.Open(name)
	if err == nil {
		_, err = customize.WriteFile(context.Background(), f, killedChange, customize.WriteOptions{Output: name})
	}
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n") //nolint:errcheck // nobody else to tell
		os.Exit(1)
	}
	os.Exit(0)
}

// TestKilled kills the program at moments of chance: what is there is the old
// or the new image.
func TestKilled(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	old := image(t, imager.Profile{Headroom: 1 << 20})
	name := write(t, old)
	start := func() *exec.Cmd {
		c := exec.CommandContext(t.Context(), program)
		c.Env = append(os.Environ(), killedEnv+"="+name)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	// As long as it takes when nobody kills it.
	began := time.Now()
	if err := start().Wait(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	now := read(t, name)
	if bytes.Equal(now, old) {
		t.Fatal("nothing was customised")
	}
	killed := 0
	for range 20 {
		if err := os.WriteFile(name, old, 0o600); err != nil {
			t.Fatal(err)
		}
		c := start()
		time.Sleep(rand.N(took))
		if err := c.Process.Kill(); err == nil {
			killed++
		}
		_ = c.Wait() // killed, or done before
		if got := read(t, name); !bytes.Equal(got, old) && !bytes.Equal(got, now) {
			t.Fatal("neither the old nor the new image")
		}
	}
	t.Logf("%d of 20 were killed, within %v", killed, took)
}
