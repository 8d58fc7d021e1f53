# Writes the network command: the management network of the metadata.
# writes: /tmp/network
import os
import sys

ROOT = os.environ.get("ESXI_ROOT", "")
sys.path.insert(0, ROOT + "/esxiimg")
sys.dont_write_bytecode = True

try:
    from esxi_netinit import installer, stage
except ImportError as err:
    print("esxi-img: /esxiimg is not loaded (%s): DHCP it is" % err)
    sys.exit(0)
sys.exit(stage.run(ROOT, installer.network, "the management network", stage.NEVER))
