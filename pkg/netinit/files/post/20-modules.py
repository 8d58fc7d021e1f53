# Puts our module and the host's metadata on the boot bank, so that %firstboot
# finds them. Whatever fails here is said, and the installation goes on: a host
# with a password and a network is better than none.
import os
import sys

ROOT = os.environ.get("ESXI_ROOT", "")
sys.path.insert(0, ROOT + "/esxiimg")
# Nothing is to be written next to the sources.
sys.dont_write_bytecode = True

try:
    from esxi_netinit import bootbank
except ImportError as err:
    print("esxi-img: /esxiimg is not loaded (%s): the host is not configured on first boot" % err)
else:
    try:
        bootbank.main(ROOT)
    except Exception as err:
        # Not the error's text: it may quote the metadata.
        print("esxi-img: the boot bank was left as it is: %s" % type(err).__name__)
sys.exit(0)
