# Writes the install command: the disk that carries this image, or the chosen
# one. In doubt the installation stops here.
# writes: /tmp/install
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
sys.exit(stage.run(ROOT, installer.install, "the disk", stage.ALWAYS))
