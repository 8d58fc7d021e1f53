# Configures the host from the metadata that %post put on the boot bank.
: "${ESXI_ROOT:=}"
: "${ESXI_PYTHON:=python}"
command -v "$ESXI_PYTHON" >/dev/null || ESXI_PYTHON=python3

main=$ESXI_ROOT/esxiimg/esxi_netinit/main.py
if [ ! -f "$main" ]; then
    echo "esxi-img: /esxiimg is not loaded: nothing is configured"
    logger -t esxi-img "/esxiimg is not loaded: nothing is configured"
    exit 0
fi

# Programs of our own only run through an interpreter (execInstalledOnly).
"$ESXI_PYTHON" "$main"
code=$?
if [ "$code" -ne 0 ]; then
    logger -t esxi-img "the host is not configured completely (exit code $code)"
fi
exit "$code"
