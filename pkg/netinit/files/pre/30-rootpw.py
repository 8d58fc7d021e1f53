# Writes the rootpw command. Without a password that somebody knows, or SSH
# keys that will be set up, the installation stops here.
# writes: /tmp/rootpw
import os
import sys

ROOT = os.environ.get("ESXI_ROOT", "")
sys.path.insert(0, ROOT + "/esxiimg")
sys.dont_write_bytecode = True

try:
    from esxi_netinit import installer, stage
except ImportError as err:
    print("esxi-img: /esxiimg is not loaded (%s): the installation stops here; no disk was touched" % err)
    sys.exit(1)
sys.exit(stage.run(ROOT, installer.rootpw, "the root password", stage.ALWAYS))
