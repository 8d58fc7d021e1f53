package disk

import (
	"os"

	"golang.org/x/sys/windows"
)

// makeSparse marks the file as sparse: elsewhere a hole needs no mark, NTFS
// would allocate and zero it. FAT and exFAT have no sparse files; the image is
// right there too, only larger.
func makeSparse(f *os.File) {
	var returned uint32
	_ = windows.DeviceIoControl(windows.Handle(f.Fd()), windows.FSCTL_SET_SPARSE, nil, 0, nil, 0, &returned, nil)
}
