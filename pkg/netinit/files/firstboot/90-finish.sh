# The end of the first boot, after the user's own scripts: saves the state,
# takes our modules off the boot bank, tells phone_home, and reboots once.
: "${ESXI_ROOT:=}"
: "${ESXI_PYTHON:=python}"
command -v "$ESXI_PYTHON" >/dev/null || ESXI_PYTHON=python3

main=$ESXI_ROOT/esxiimg/esxi_netinit/main.py
[ -f "$main" ] || exit 0
"$ESXI_PYTHON" "$main" --finish
code=$?
if [ "$code" -ne 0 ]; then
    logger -t esxi-img "the end of the first boot went wrong (exit code $code)"
fi
exit "$code"
