"""The stages that run inside the installer after the installation. The
scripts of %post call them, one each; none of them fails an installation."""
from esxi_netinit import bootbank, disks, guard, report

POST_TRIES = 2  # the network of the installer is not always up


def guard_image(stage):
    image = stage.image()
    if image.disk is not None:
        stage.state["guarded"] = guard.apply(stage, disks.scan(stage), image)


def prepare_first_boot(stage):
    stage.state["first_boot"] = bootbank.add(stage)


def tell(stage):
    """What the host is like now, for whoever watches."""
    notes = stage.state.get("notes", [])
    where = stage.state.get("metadata", {}).get("where", "none")
    stage.say("installed; metadata: %s; first boot: %s; %d notes" % (
        where, "will configure the host" if stage.state.get("first_boot") else "will not configure the host", len(notes)))
    for note in notes:
        stage.say("note: " + note)
    if not report.phone_home(stage.model(), "installed", True, notes, POST_TRIES, stage.root):
        stage.say("the report could not be sent to phone_home")
