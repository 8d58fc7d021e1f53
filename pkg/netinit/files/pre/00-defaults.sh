# Makes sure that every file which a kickstart may include is there: the
# installer stops at a missing one. They hold no password and choose no disk,
# since a wrong one is worse than none; the scripts after this one fill them in.
: "${ESXI_ROOT:=}"
umask 077

# write_default FILE TEXT writes TEXT unless an earlier script wrote the file.
write_default() {
    if [ -s "$1" ]; then
        echo "esxi-img: $1 is there already, kept"
        return
    fi
    # The first line is how the other scripts know that nobody wrote it.
    printf '# default of esxi-img\n%s\n' "$2" >"$1" || echo "esxi-img: $1 can't be written"
}

mkdir -p "$ESXI_ROOT/tmp"
write_default "$ESXI_ROOT/tmp/rootpw" "# no root password yet"
write_default "$ESXI_ROOT/tmp/network" "network --bootproto=dhcp"
write_default "$ESXI_ROOT/tmp/install" "# no disk chosen yet"
write_default "$ESXI_ROOT/tmp/firstboot" "# no script for the first boot"
exit 0
