# Finds the host's metadata and copies it to memory, before the installer
# erases the disk that it may lie on.
import os
import sys

ROOT = os.environ.get("ESXI_ROOT", "")
sys.path.insert(0, ROOT + "/esxiimg")
sys.dont_write_bytecode = True

try:
    from esxi_netinit import installer, stage
except ImportError as err:
    print("esxi-img: /esxiimg is not loaded (%s)" % err)
    sys.exit(0)
sys.exit(stage.run(ROOT, installer.metadata, "the metadata", stage.REFUSED))
