# The last word of the installer: what was installed and what was left out.
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
sys.exit(stage.run(ROOT, installed.tell, "the report", stage.NEVER))
