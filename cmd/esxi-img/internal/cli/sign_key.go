package cli

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/term"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/signing"
)

// signEnvironment is what signing takes from around the program. Nobody is
// asked anything but at a terminal.
func (a *app) signEnvironment() option.SignEnvironment {
	env := option.SignEnvironment{Environment: a.environment()}
	if in, ok := a.terminal(); ok {
		env.Password = func() ([]byte, error) { return a.askPassword(in, "Password of the private key: ") }
		env.Login = func(ctx context.Context, issuer string) (string, error) {
			return signing.Login(ctx, signing.LoginOptions{Issuer: issuer, Device: !a.hasBrowser(), Input: in, Output: a.Stderr})
		}
	}
	return env
}

// terminal is standard input where somebody sits at it.
func (a *app) terminal() (*os.File, bool) {
	in, ok := a.Stdin.(*os.File)
	return in, ok && term.IsTerminal(int(in.Fd()))
}

// hasBrowser says whether a browser can show itself here.
func (a *app) hasBrowser() bool {
	return runtime.GOOS == "windows" || runtime.GOOS == "darwin" || a.Getenv("DISPLAY") != "" || a.Getenv("WAYLAND_DISPLAY") != ""
}

func (a *app) askPassword(in *os.File, prompt string) ([]byte, error) {
	fmt.Fprint(a.Stderr, prompt)
	b, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(a.Stderr)
	if err != nil {
		return nil, fmt.Errorf("the password cannot be read: %w", err)
	}
	return b, nil
}

// generateKey makes a key and its public half, in two new files.
func (a *app) generateKey(prefix string) error {
	env := a.signEnvironment()
	if in, ok := a.terminal(); ok {
		env.Password = func() ([]byte, error) { return a.askNewPassword(in) }
	}
	password, err := option.KeyPassword(env)
	if err != nil {
		return err
	}
	key, err := signing.GenerateKey()
	if err != nil {
		return err
	}
	private, err := key.PEM(password)
	if err != nil {
		return err
	}
	keyFile, pubFile := prefix+".key", prefix+".pub"
	if err := writeNew(keyFile, private, 0o600); err != nil {
		return err
	}
	if err := writeNew(pubFile, key.Public().PEM(), 0o644); err != nil {
		// Half a pair is of no use, and would be in the way of the next try.
		return errors.Join(err, os.Remove(keyFile))
	}
	if len(password) == 0 {
		a.status().Warn("%s is not encrypted: keep it where only you can read it, or set COSIGN_PASSWORD to encrypt it", keyFile)
	}
	return a.showKey(keyFile, pubFile, key.Public(), len(password) > 0)
}

// askNewPassword asks twice.
func (a *app) askNewPassword(in *os.File) ([]byte, error) {
	first, err := a.askPassword(in, "Password for the private key (empty: none): ")
	if err != nil {
		return nil, err
	}
	again, err := a.askPassword(in, "Again: ")
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(first, again) != 1 {
		return nil, usagef("run the command again", "these were two passwords")
	}
	return first, nil
}

// writeNew writes a file that is not there yet. What fails leaves none.
func writeNew(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return &failure{exitIO, fmt.Errorf("%s: already exists, and keys are not replaced", path), "choose another PREFIX"}
	}
	if err != nil {
		return err
	}
	_, err = bytes.NewReader(data).WriteTo(f)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func (a *app) showKey(keyFile, pubFile string, key *signing.PublicKey, encrypted bool) error {
	if a.output.JSON {
		return display.JSON(a.Stdout, struct {
			Key         string `json:"key"`
			Public      string `json:"public"`
			Fingerprint string `json:"fingerprint"`
			Encrypted   bool   `json:"encrypted"`
		}{keyFile, pubFile, key.Fingerprint(), encrypted})
	}
	var f display.Fields
	f.Add("private key", keyFile)
	f.Add("public key", pubFile)
	f.Add("fingerprint", key.Fingerprint())
	return f.Write(a.Stdout)
}
