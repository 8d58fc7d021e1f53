"""The stages that run inside the installer after the installation. The
scripts of %post call them, one each; none of them fails an installation."""
import time

from esxi_netinit import access, bootbank, disks, guard, report
from esxi_netinit.errors import MetadataError
from esxi_netinit.stage import Refused, line_of

POST_TRIES = 2  # the network of the installer is not always up
BANK_TRIES = 3
BANK_PAUSE = 5  # seconds; a volume that was just made may not be there yet


def guard_image(stage):
    image = stage.image()
    if image.disk is not None:
        stage.state["guarded"] = False  # unless the next line ends
        stage.state["guarded"] = guard.apply(stage, disks.scan(stage), image)


def prepare_first_boot(stage):
    stage.state["first_boot"] = False
    problem = "it was not tried"
    for attempt in range(BANK_TRIES):
        if attempt:
            time.sleep(BANK_PAUSE)
        try:
            stage.state["first_boot"] = bootbank.add(stage)
            problem = None
            break
        except (Refused, MetadataError) as err:
            problem = str(err)
        except OSError as err:
            problem = err.strerror or type(err).__name__
        except Exception as err:
            # Not the text: it may quote the metadata.
            problem = "%s in %s" % (type(err).__name__, line_of(err))
    if problem is not None:
        stage.note("the boot bank is left as it is, and the first boot applies nothing of the metadata but root password and"
                   " management network: %s" % problem)
        stage.state["refused"] = True
    if not stage.state["first_boot"] and stage.state.get("password", "").startswith(access.RANDOM):
        # %pre made sure that the boot bank is not the only way.
        stage.note("NOBODY KNOWS THE ROOT PASSWORD OF THIS HOST, and the boot bank has nothing of ours: only a script of %firstboot"
                   " is left to set up root's SSH keys")


def tell(stage):
    """What the host is like now, for whoever watches."""
    notes = stage.state.get("notes", [])
    where = stage.state.get("metadata", {}).get("where", "none")
    stage.say("installed; metadata: %s; first boot: %s; %d notes" % (
        where, "will configure the host" if stage.state.get("first_boot") else "will not configure the host", len(notes)))
    for note in notes:
        stage.say("note: " + note)
    ok = stage.state.get("guarded") is not False and not stage.state.get("refused")
    if not report.phone_home(stage.model(), "installed", ok, notes, POST_TRIES, stage.root):
        stage.say("the report could not be sent to phone_home")
