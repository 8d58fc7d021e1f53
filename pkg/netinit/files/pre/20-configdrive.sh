# Copies the OpenStack config drive to /tmp/config-2, before the installer
# erases the disk that it may be a partition of. It is a file system labelled
# config-2, in either case. Not finding one is no failure here: what needs the
# metadata says so itself.
: "${ESXI_ROOT:=}"
: "${ESXI_MAX_DEVICES:=512}" # a host with more is searched only so far
: "${ESXI_MAX_KB:=65536}"    # OpenStack's own limit of a config drive
umask 077

target=$ESXI_ROOT/tmp/config-2

say() {
    echo "esxi-img: $*"
}

# volume prints the folder of the volume that carries the label.
volume() {
    for candidate in "$ESXI_ROOT"/vmfs/volumes/[Cc][Oo][Nn][Ff][Ii][Gg]-2; do
        if [ -d "$candidate/openstack" ]; then
            echo "$candidate"
            return 0
        fi
    done
    return 1
}

# copy VOLUME: all or nothing, so that nobody reads half a config drive.
copy() {
    # The label is a link to the volume: look behind it.
    size=$(du -sk "$1/" | cut -f1)
    if [ "${size:-0}" -gt "$ESXI_MAX_KB" ]; then
        say "$1 holds $size KiB, more than $ESXI_MAX_KB: not copied"
        return 1
    fi
    rm -rf "$target.part"
    mkdir -p "$target.part" || return 1
    # Not the folders of older metadata versions: they repeat the same.
    for part in openstack/latest openstack/content; do
        [ -d "$1/$part" ] || continue
        mkdir -p "$target.part/openstack" || return 1
        cp -r "$1/$part" "$target.part/openstack/" || return 1
    done
    mv "$target.part" "$target"
}

# take DEVICE copies the volume if it is there now.
take() {
    found=$(volume) || return 1
    if copy "$found"; then
        say "config drive copied from $1"
    else
        rm -rf "$target.part"
        say "config drive on $1 could not be copied"
    fi
    return 0
}

# search mounts one device after the other, partitions included.
search() {
    seen=0
    for device in "$ESXI_ROOT"/dev/disks/*; do
        # vml.* are links to the others.
        if [ ! -e "$device" ] || [ -L "$device" ]; then
            continue
        fi
        seen=$((seen + 1))
        if [ "$seen" -gt "$ESXI_MAX_DEVICES" ]; then
            say "more than $ESXI_MAX_DEVICES devices: the others are not searched"
            return 1
        fi
        name=$(basename "$device")
        # Fails for what is no ISO 9660, which is most.
        vsish -e set /vmkModules/iso9660/mount "$name" >/dev/null 2>&1
        if take "$name"; then
            vsish -e set /vmkModules/iso9660/umount "$name" >/dev/null 2>&1 ||
                say "$name stays mounted"
            return 0
        fi
        vsish -e set /vmkModules/iso9660/umount "$name" >/dev/null 2>&1
    done
    say "no ISO 9660 config drive among $seen devices"
    return 1
}

if [ -d "$target" ]; then
    say "$target is there already, kept"
    exit 0
fi
take "a mounted volume" && exit 0

localcli system module load --module iso9660 >/dev/null 2>&1 ||
    say "module iso9660 was not loaded; it may be loaded already"
search && exit 0

# Rebuilt config drives, and those on 4K disks, are FAT.
localcli system module load --module vfat >/dev/null 2>&1
localcli storage filesystem automount >/dev/null 2>&1
take "a FAT volume" && exit 0

say "no config drive found (a volume labelled config-2)"
exit 0
