# Where another disk than the image's was installed on, the image is made
# unbootable, or the host might install itself again and again.
import os
import sys

ROOT = os.environ.get("ESXI_ROOT", "")
sys.path.insert(0, ROOT + "/esxiimg")
sys.dont_write_bytecode = True

try:
    from esxi_netinit import installed, stage
except ImportError as err:
    print("esxi-img: /esxiimg is not loaded (%s)" % err)
    sys.exit(0)
sys.exit(stage.run(ROOT, installed.guard_image, "keeping the image from starting again", stage.NEVER))
