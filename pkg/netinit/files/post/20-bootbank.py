# Puts our module and the host's metadata on the boot bank, so that %firstboot
# finds them. Whatever fails here is said, and the installation goes on: a host
# with a password and a network is better than none.
import os
import sys

ROOT = os.environ.get("ESXI_ROOT", "")
sys.path.insert(0, ROOT + "/esxiimg")
sys.dont_write_bytecode = True

try:
    from esxi_netinit import installed, stage
except ImportError as err:
    print("esxi-img: /esxiimg is not loaded (%s): the host is not configured on first boot" % err)
    sys.exit(0)
sys.exit(stage.run(ROOT, installed.prepare_first_boot, "the boot bank", stage.NEVER))
