//go:build linux

// Command client stands in a modelled host's root for every program of ESXi's:
// esxcli, vim-cmd and the rest. It hands its name, its arguments and, if
// asked, its standard input to the model, which listens on a socket, and gives
// the model's answer. It does nothing else, and that with system calls alone:
// it is started thousands of times, and most of a larger program's time would
// be its start.
//
// Both ways, a frame is a byte that says what it is, the length of the rest as
// four bytes, big endian, and the rest.
package main

import (
	"encoding/binary"
	"os"
	"strings"
	"syscall"
)

const (
	socket     = "/standin/socket"
	maxFrame   = 16 << 20
	exitBroken = 125 // the model is gone
)

func main() {
	os.Exit(ask(os.Args))
}

func ask(args []string) int {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return broken(err.Error())
	}
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: socket}); err != nil {
		return broken(err.Error())
	}
	send(fd, 'a', []byte(strings.Join(args, "\x00")))
	for {
		kind, data := receive(fd)
		switch kind {
		case 'i':
			send(fd, 'i', all(syscall.Stdin))
		case 'o':
			write(syscall.Stdout, data)
		case 'e':
			write(syscall.Stderr, data)
		case 'x':
			return int(data[0])
		default:
			return broken("the model does not answer")
		}
	}
}

func broken(text string) int {
	write(syscall.Stderr, []byte("stand-in: "+text+"\n"))
	return exitBroken
}

func send(fd int, kind byte, data []byte) {
	frame := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(data)))
	write(fd, append(frame, data...))
}

// receive gives kind 0 where the answer is cut short.
func receive(fd int) (kind byte, data []byte) {
	var head [5]byte
	if !read(fd, head[:]) {
		return 0, nil
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame || head[0] == 'x' && n != 1 {
		return 0, nil
	}
	data = make([]byte, n)
	if !read(fd, data) {
		return 0, nil
	}
	return head[0], data
}

// write does not tell whether all was written: whoever should read it may be
// gone, and then a receive fails.
func write(fd int, data []byte) {
	for len(data) > 0 {
		n, err := syscall.Write(fd, data)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return
		}
		data = data[n:]
	}
}

// read fills data.
func read(fd int, data []byte) bool {
	for len(data) > 0 {
		n, err := syscall.Read(fd, data)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return false
		}
		data = data[n:]
	}
	return true
}

// all reads to the end, of which there may be none.
func all(fd int) []byte {
	var out []byte
	piece := make([]byte, 64<<10)
	for len(out) < maxFrame {
		n, err := syscall.Read(fd, piece)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n == 0 {
			break
		}
		out = append(out, piece[:n]...)
	}
	return out
}
