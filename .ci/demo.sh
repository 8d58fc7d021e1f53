#!/bin/sh
# What the program does, on a small synthetic ISO. Nothing but Go is needed.
set -eu
GO=${GO:-go} ESXI_IMG=${ESXI_IMG:-bin/esxi-img}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT INT TERM
PATH=$(cd "$(dirname "$ESXI_IMG")" && pwd):$PATH

show() { # COMMAND…: prints it as a user would type it, then runs it
	printf '\n$ %s\n' "$*"
	"$@"
}

echo "A synthetic ESXi installer ISO: laid out as VMware's, filled with noise."
$GO run ./pkg/esxitest/mkiso -size small "$dir/esxi.iso"
cd "$dir"
show ls -l esxi.iso
show esxi-img inspect esxi.iso
show esxi-img --output esxi.img esxi.iso
show esxi-img inspect esxi.img
