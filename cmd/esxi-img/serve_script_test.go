package main

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// serve ARG... runs "esxi-img serve" on a free port until stopserve or the end
// of the script. $REGISTRY is its address; what it says lies in serve.log.
func serve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: serve ARG...")
	}
	program, err := exec.LookPath("esxi-img")
	ts.Check(err)
	cmd := exec.Command(program, append([]string{"serve", "--listen", "127.0.0.1:0", "--json"}, args...)...)
	cmd.Dir = ts.MkAbs(".")
	log, err := os.Create(ts.MkAbs("serve.log"))
	ts.Check(err)
	cmd.Stderr = log
	stdout, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	var out struct {
		URL string `json:"url"`
	}
	err = json.NewDecoder(stdout).Decode(&out)
	s := &server{cmd, stdout, log}
	servers.Store(ts.Getenv("WORK"), s)
	ts.Defer(func() { s.stop(ts) })
	if err != nil {
		ts.Fatalf("serve printed no URL: %v", err)
	}
	_, host, _ := strings.Cut(out.URL, "://")
	ts.Setenv("REGISTRY", host)
}

// stopserve ends it as a user would, and wants the exit code 0.
func stopserve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: stopserve")
	}
	s, ok := servers.Load(ts.Getenv("WORK"))
	if !ok {
		ts.Fatalf("nothing is served")
	}
	s.(*server).stop(ts)
}

// servers are those that run for scripts, by their folders.
var servers sync.Map

type server struct {
	cmd    *exec.Cmd
	stdout io.Closer
	log    *os.File
}

func (s *server) stop(ts *testscript.TestScript) {
	if s.cmd == nil {
		return
	}
	cmd := s.cmd
	s.cmd = nil
	ts.Check(cmd.Process.Signal(os.Interrupt))
	ts.Check(cmd.Wait())
	ts.Check(s.log.Close())
}
