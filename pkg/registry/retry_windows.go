package registry

import (
	"syscall"

	"golang.org/x/sys/windows"
)

const errRefused = windows.WSAECONNREFUSED

// connectionErrors are those of the system that say that a connection broke or
// could not be made just now.
var connectionErrors = []syscall.Errno{
	windows.WSAECONNRESET, windows.WSAECONNABORTED, windows.WSAECONNREFUSED,
	windows.WSAENETUNREACH, windows.WSAEHOSTUNREACH, windows.WSAENETDOWN,
}
