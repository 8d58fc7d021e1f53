# Makes sure that every file which a kickstart may include is there: the
# installer stops at a missing one. They hold no password and choose no disk;
# the scripts after this one fill them in.
: "${ESXI_ROOT:=}"
umask 077

# default FILE TEXT writes TEXT unless an earlier script wrote the file.
default() {
    if [ -s "$1" ]; then
        echo "esxi-img: $1 is there already, kept"
        return
    fi
    printf '%s\n' "$2" >"$1" || echo "esxi-img: $1 can't be written"
}

mkdir -p "$ESXI_ROOT/tmp"
default "$ESXI_ROOT/tmp/rootpw" "# no root password yet"
default "$ESXI_ROOT/tmp/network" "network --bootproto=dhcp"
default "$ESXI_ROOT/tmp/install" "# no disk chosen yet"
exit 0
