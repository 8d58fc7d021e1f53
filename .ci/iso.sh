#!/bin/sh
# iso.sh DIR [SIZE…]: synthetic ISOs in every flavour and size. Flavours whose
# mastering program is missing are named and left out.
set -eu
GO=${GO:-go}
dir=$1
shift
[ $# -gt 0 ] || set -- small full
mkdir -p "$dir"
mkiso=$dir/.mkiso
trap 'rm -f "$mkiso"' EXIT
$GO build -o "$mkiso" ./pkg/esxitest/mkiso

for size in "$@"; do
	for how in plain:builtin lower:builtin rockridge:xorriso rockridge:genisoimage joliet:xorriso; do
		flavour=${how%:*} tool=${how#*:}
		if [ "$tool" != builtin ] && ! command -v "$tool" >/dev/null 2>&1; then
			echo "$flavour needs $tool, which is not installed: left out"
			continue
		fi
		"$mkiso" -size "$size" -flavour "$flavour" -tool "$tool" "$dir/$flavour-$tool-$size.iso"
	done
done
