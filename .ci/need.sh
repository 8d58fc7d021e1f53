#!/bin/sh
# Says which of the programs that the e2e tests use as judges are missing.
set -eu
PATH=$PATH:/usr/sbin:/sbin

missing=
need() { # PROGRAM DEBIAN-PACKAGE
	command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need qemu-system-x86_64 qemu-system-x86
need qemu-img qemu-utils
need grub-mkstandalone grub-common
need mcopy mtools
need mkfs.vfat dosfstools
need mkfs.ext4 e2fsprogs
need losetup mount
need sgdisk gdisk
need mkfs.btrfs btrfs-progs
need fdisk fdisk
need xorriso xorriso
need genisoimage genisoimage
need docker-registry docker-registry
need skopeo skopeo
need dnsmasq dnsmasq-base
need curl curl
need ip iproute2
need chromium chromium
need npm npm
need busybox busybox-static
need python3 python3
need unshare util-linux
[ -f /usr/share/OVMF/OVMF_CODE_4M.fd ] || missing="$missing ovmf"
[ -f /usr/lib/ipxe/qemu/efi-virtio.rom ] || missing="$missing ipxe-qemu"
[ -d /usr/lib/grub/x86_64-efi ] || missing="$missing grub-efi-amd64-bin"

if [ -n "$missing" ]; then
	echo "e2e tests need these Debian packages:$missing" >&2
	echo "install them: apt-get install --no-install-recommends$missing" >&2
	exit 1
fi
# Sigstore's servers run where no other network is.
if ! unshare --net --pid --fork true 2>/dev/null && ! unshare --map-root-user --net --pid --fork true 2>/dev/null; then
	echo "e2e tests need network and process namespaces: be root, or allow users to make them (kernel.unprivileged_userns_clone=1)" >&2
	exit 1
fi
