//go:build e2e

package cli_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// browser is a Chromium that is driven over two pipes, by the DevTools protocol:
// messages are JSON that ends in a zero byte.
type browser struct {
	to   *os.File
	mu   sync.Mutex // of what follows
	last int
	wait map[int]chan message
	tabs map[string]*tab
	gone error
}

type message struct {
	ID        int             `json:"id,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    json.RawMessage `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// startBrowser starts Debian's Chromium, without a window.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("%v: it is in Debian's package chromium", err)
	}
	fromUs, toThem, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fromThem, toUs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--headless=new", "--no-sandbox", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars", "--mute-audio",
		"--user-data-dir="+t.TempDir(), "about:blank")
	cmd.ExtraFiles = []*os.File{fromUs, toUs}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = fromUs.Close(), toUs.Close() // theirs now
	b := &browser{to: toThem, wait: map[int]chan message{}, tabs: map[string]*tab{}}
	go b.read(fromThem)
	t.Cleanup(func() {
		_, _ = b.send("", "Browser.close", nil)
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		_ = toThem.Close()
	})
	return b
}

func (b *browser) read(from *os.File) {
	defer func() { _ = from.Close() }()
	r := bufio.NewReaderSize(from, 1<<20)
	for {
		line, err := r.ReadBytes(0)
		if err != nil {
			b.mu.Lock()
			b.gone = errors.New("the browser went away")
			for id, ch := range b.wait {
				close(ch)
				delete(b.wait, id)
			}
			b.mu.Unlock()
			return
		}
		var m message
		if json.Unmarshal(line[:len(line)-1], &m) != nil {
			continue
		}
		b.mu.Lock()
		ch, t := b.wait[m.ID], b.tabs[m.SessionID]
		delete(b.wait, m.ID)
		b.mu.Unlock()
		switch {
		case m.ID != 0 && ch != nil:
			ch <- m
		case t != nil:
			t.heard(&m)
		}
	}
}

// send asks for something and waits for the answer.
func (b *browser) send(session, method string, params any) (json.RawMessage, error) {
	raw, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	if params == nil {
		raw = []byte("{}")
	}
	ch := make(chan message, 1)
	b.mu.Lock()
	if b.gone != nil {
		b.mu.Unlock()
		return nil, b.gone
	}
	b.last++
	m := message{ID: b.last, SessionID: session, Method: method, Params: raw}
	b.wait[m.ID] = ch
	line, err := json.Marshal(m)
	if err == nil {
		_, err = b.to.Write(append(line, 0))
	}
	b.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case got, ok := <-ch:
		switch {
		case !ok:
			return nil, errors.New("the browser went away")
		case got.Error != nil:
			return nil, fmt.Errorf("%s: %s", method, got.Error.Message)
		}
		return got.Result, nil
	case <-time.After(time.Minute):
		return nil, fmt.Errorf("%s: no answer for a minute", method)
	}
}

// tab is a page in a browser, and what it was heard to do.
type tab struct {
	t       *testing.T
	b       *browser
	session string

	mu       sync.Mutex
	loaded   chan struct{}
	requests []string // URLs
	problems []string // errors and warnings of the console, violations of the policy
}

// open opens an empty tab.
func (b *browser) open(t *testing.T) *tab {
	t.Helper()
	p := &tab{t: t, b: b, loaded: make(chan struct{}, 16)}
	var target struct {
		TargetID string `json:"targetId"`
	}
	p.decode(p.must("Target.createTarget", map[string]any{"url": "about:blank"}), &target)
	var attached struct {
		SessionID string `json:"sessionId"`
	}
	p.decode(p.must("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}), &attached)
	p.session = attached.SessionID
	b.mu.Lock()
	b.tabs[p.session] = p
	b.mu.Unlock()
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		p.must(domain+".enable", nil)
	}
	t.Cleanup(func() {
		_, _ = b.send("", "Target.closeTarget", map[string]any{"targetId": target.TargetID})
	})
	return p
}

func (p *tab) must(method string, params any) json.RawMessage {
	p.t.Helper()
	result, err := p.b.send(p.session, method, params)
	if err != nil {
		p.t.Fatal(err)
	}
	return result
}

func (p *tab) decode(raw json.RawMessage, v any) {
	p.t.Helper()
	if err := json.Unmarshal(raw, v); err != nil {
		p.t.Fatalf("%v: %s", err, raw)
	}
}

// heard takes down what a page does.
func (p *tab) heard(m *message) {
	var e struct {
		Type    string `json:"type"`
		Request struct {
			URL string `json:"url"`
		} `json:"request"`
		Entry struct {
			Level string `json:"level"`
			Text  string `json:"text"`
		} `json:"entry"`
		ExceptionDetails struct {
			Text string `json:"text"`
		} `json:"exceptionDetails"`
	}
	if json.Unmarshal(m.Params, &e) != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch m.Method {
	case "Page.loadEventFired":
		p.loaded <- struct{}{}
	case "Network.requestWillBeSent":
		p.requests = append(p.requests, e.Request.URL)
	case "Log.entryAdded":
		if e.Entry.Level == "error" || e.Entry.Level == "warning" {
			p.problems = append(p.problems, e.Entry.Text)
		}
	case "Runtime.consoleAPICalled":
		if e.Type == "error" || e.Type == "warning" {
			p.problems = append(p.problems, string(m.Params))
		}
	case "Runtime.exceptionThrown":
		p.problems = append(p.problems, string(m.Params))
	case "Page.javascriptDialogOpening":
		p.problems = append(p.problems, "a dialog: "+string(m.Params))
		go func() { _, _ = p.b.send(p.session, "Page.handleJavaScriptDialog", map[string]any{"accept": true}) }()
	}
}

// load goes to a page and waits until it is there.
func (p *tab) load(url string) {
	p.t.Helper()
	// Another fragment alone would not load it again.
	p.must("Page.navigate", map[string]any{"url": "about:blank"})
	p.wait()
	p.must("Page.navigate", map[string]any{"url": url})
	p.wait()
}

func (p *tab) wait() {
	p.t.Helper()
	select {
	case <-p.loaded:
	case <-time.After(30 * time.Second):
		p.t.Fatal("the page does not load")
	}
}

// eval runs a program in the page and returns its value as JSON, or as the text
// that it is.
func (p *tab) eval(program string) string {
	p.t.Helper()
	var out struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		ExceptionDetails *json.RawMessage `json:"exceptionDetails"`
	}
	p.decode(p.must("Runtime.evaluate", map[string]any{"expression": program, "awaitPromise": true, "returnByValue": true}), &out)
	if out.ExceptionDetails != nil {
		p.t.Fatalf("%.200s: %s", program, *out.ExceptionDetails)
	}
	var text string
	if json.Unmarshal(out.Result.Value, &text) == nil {
		return text
	}
	return string(out.Result.Value)
}

// until waits for a condition.
func (p *tab) until(condition string) {
	p.t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for p.eval("!!("+condition+")") != "true" {
		if time.Now().After(deadline) {
			p.t.Fatalf("it does not come: %s", condition)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// look makes the page a screen of that width, light or dark.
func (p *tab) look(width int, scheme string) {
	p.t.Helper()
	p.must("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}})
	p.must("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600})
}

// shoot takes a picture of a page's beginning, where ESXI_IMG_SHOTS says so.
func (p *tab) shoot(name string) {
	p.t.Helper()
	dir := os.Getenv("ESXI_IMG_SHOTS")
	if dir == "" {
		return
	}
	height := p.eval("String(Math.min(2400, document.documentElement.scrollHeight))")
	width := p.eval("String(document.documentElement.clientWidth)")
	clip := map[string]any{"x": 0, "y": 0, "width": json.Number(width), "height": json.Number(height), "scale": 1}
	var shot struct {
		Data string `json:"data"`
	}
	p.decode(p.must("Page.captureScreenshot", map[string]any{"captureBeyondViewport": true, "format": "png", "clip": clip}), &shot)
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// clean fails the test if the page did anything that it should not.
func (p *tab) clean(allowed string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.problems {
		p.t.Errorf("the page complains: %s", s)
	}
	for _, url := range p.requests {
		if !strings.HasPrefix(url, allowed) && url != "about:blank" {
			p.t.Errorf("the page asks for %s", url)
		}
	}
	p.problems, p.requests = nil, nil
}

// runIn runs a program of another's.
func runIn(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}
