//go:build !windows

package registry

import "syscall"

const errRefused = syscall.ECONNREFUSED

// connectionErrors are those of the system that say that a connection broke or
// could not be made just now.
var connectionErrors = []syscall.Errno{
	syscall.ECONNRESET, syscall.ECONNABORTED, syscall.ECONNREFUSED, syscall.EPIPE,
	syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN,
}
