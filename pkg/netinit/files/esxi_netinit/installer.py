"""The stages that run inside the installer before it reads its commands. The
scripts of %pre call them, one each."""
from esxi_netinit import access, bootbank, disks, finder, guard, loader, report, shacrypt, weasel
from esxi_netinit.errors import MetadataError
from esxi_netinit.model import Model
from esxi_netinit.stage import FOLDER, Refused

METADATA = FOLDER + "/metadata"
ROOTPW, NETWORK, INSTALL = "/tmp/rootpw", "/tmp/network", "/tmp/install"


def metadata(stage):
    """Finds the metadata, keeps a copy, and makes the model of it."""
    image = stage.image()
    stage.strict = image.metadata_required
    present = disks.scan(stage)
    for disk in present:
        if disk.problem:
            stage.say("%s: %s" % (disk.name, disk.problem))
    found = finder.find(stage, present, image)
    stage.state["image_disks"] = [disk.name for disk in disks.carriers(present, image)]
    if found is None:
        if image.metadata_required:
            raise Refused("there is no metadata (a drive labelled config-2 or cidata), and this image requires it")
        stage.note("no metadata was found on %d devices: the image's own settings are used" % len(present))
        return
    stage.say("metadata found: %s (%s)" % (found.where, found.kind))
    finder.store(stage, found, METADATA)
    # Without it the next stages know that there is none: half of a copy is none.
    stage.state["metadata"] = {"where": found.where, "kind": found.kind}
    stage.save()
    model = read(stage, image)[0]
    for note in model.notes:
        stage.note("metadata: %s: %s" % (note["path"], note["message"]))
    stage.save_model(model)


def read(stage, image):
    """(Model, Secrets) of the copy. What is odd in it is left out and told.
    Where metadata is required, its files have to be readable as a whole."""
    if "metadata" not in stage.state:
        return Model(), None
    try:
        source = "image" if stage.state["metadata"]["kind"] == "image" else None
        model, secrets, problems = loader.load_reported(stage.path(METADATA), source)
    except MetadataError as err:
        if image.metadata_required:
            raise
        stage.note("metadata: %s: nothing of it is used" % err)
        return Model(), None
    if image.metadata_required and problems.unread:
        raise Refused("this image requires metadata, and a file of it can't be read: %s" % problems.unread[0])
    return model, secrets


def rootpw(stage):
    """The root password, as a hash. None at all stops the installation: a
    host that nobody can log in to is lost."""
    if stage.written(ROOTPW):
        stage.say("%s is set already, kept" % ROOTPW)
        return
    image = stage.image()
    model, secrets = read(stage, image)
    line, origin = password(stage, image, model, secrets)
    if origin.startswith(access.RANDOM):
        keep_a_way_in(stage)
    stage.write(ROOTPW, line + "\n")
    stage.state["password"] = origin
    stage.say("root password: %s" % origin)


def keep_a_way_in(stage):
    """Nobody will know the password: so whatever can be known now of how the
    keys come to the host has to be right, and they travel twice."""
    problem = access.check(stage, bootbank.rehearse)
    if problem:
        raise Refused("there is no root password, and SSH keys might not be set up: %s" % problem)
    stage.write(access.SCRIPT, access.script(stage.model().ssh_keys))


def password(stage, image, model, secrets):
    """(the command, where the password comes from)"""
    if secrets is not None and secrets.root_password is not None:
        try:
            return weasel.rootpw(shacrypt.crypt(secrets.root_password)), "from the metadata"
        except (ValueError, UnicodeError):
            # Not the error's text: it may quote the password.
            stage.note("the root password of the metadata is too long, or no text: not used")
    if secrets is not None and secrets.root_hash is not None:
        if weasel.takes(secrets.root_hash):
            return weasel.rootpw(secrets.root_hash), "a hash from the metadata"
        stage.note("the hash of the root password in the metadata is of a kind that the installer refuses"
                   " ($6$ without rounds= is taken): not used")
    if image.root_hash is not None:
        if weasel.takes(image.root_hash):
            return weasel.rootpw(image.root_hash), "a hash from the image"
        stage.note("the hash of the root password in the image is of a kind that the installer refuses"
                   " ($6$ without rounds= is taken): not used")
    if not model.ssh_keys or not model.ssh["enable"]:
        raise Refused("there is no root password, neither in the metadata nor in the image, and no %s"
                      " (admin_pass, or chpasswd in user-data, or a kickstart with its own rootpw)"
                      % ("SSH for its keys" if model.ssh_keys else "SSH key"))
    secure = stage.secure_boot()
    if secure != "off":
        raise Refused("there is no root password, and the SSH keys can't be set up: Secure Boot is %s" % secure)
    return weasel.rootpw(shacrypt.crypt(shacrypt.random_password())), access.RANDOM + ", for the SSH keys"


def network(stage):
    """The management network, so that the host is reachable even where the
    first boot's script never runs."""
    if stage.written(NETWORK):
        stage.say("%s is set already, kept" % NETWORK)
        return
    model = stage.model()
    found = weasel.nics(stage)
    if not found:
        stage.note("the list of network adapters can't be had")
    line = weasel.network(model, found, stage.note)
    stage.write(NETWORK, line + "\n")
    stage.state["network"] = line
    stage.say(line)


def install(stage):
    """The disk to install on; and that this can't happen again and again."""
    if stage.written(INSTALL):
        stage.say("%s is set already, kept" % INSTALL)
        return
    image = stage.image()
    settings = merged(stage.model().install, image.install)
    present = disks.scan(stage)
    disks.describe(stage, present)
    choice = disks.choose(stage, present, image, settings["disk"])
    line = weasel.install(choice, settings)
    if choice is not None:
        ours = disks.carriers(present, image)
        guard.rehearse(ours, choice.disk, image)
        if not ours and image.disk is not None:
            hidden = [disk for disk in present if disk is not choice.disk and not disk.cdrom and disk.problem and disk.has_medium()]
            if hidden:
                raise Refused("the disk that carries this image is not seen, and may be one that can't be read: %s; if it is, the host"
                              " would install itself again and again" % disks.names(hidden))
            stage.note("the disk that carries this image is not seen: if it is another one than that which is installed on,"
                       " remove it, or the host may install itself again")
        repair(stage, choice.disk, image)
        stage.say("install on %s, %s" % (choice.disk.name if choice.disk else ",".join(choice.firstdisk), choice.reason))
        stage.state["install"] = {"disk": choice.disk.name if choice.disk else None, "reason": choice.reason}
    stage.write(INSTALL, line + "\n")


def merged(mine, default):
    """The host's own settings, and the image's where it has none."""
    return dict((key, default[key] if mine[key] is None else mine[key]) for key in mine)


def repair(stage, disk, image):
    """A disk larger than the image has its second partition table in the
    middle, which the kernel complains of. Only our own disk is mended."""
    if disk is None or not disk.carries(image) or not disk.table.damaged:
        return
    code, _ = stage.command(["partedUtil", "fix", disk.path])
    stage.say("partition table of %s: %s" % (disk.name, "mended" if code == 0 else "could not be mended, which is no harm"))


def tell(stage):
    """What is going to be installed, for whoever watches."""
    where = stage.state.get("metadata", {}).get("where", "none")
    stage.say("the installation begins; metadata: %s; %d notes" % (where, len(stage.state.get("notes", []))))
    # The network of the installer may not be there yet.
    if not report.phone_home(stage.model(), "pre", True, stage.state.get("notes", []), 1, stage.root):
        stage.say("phone_home can't be reached yet")
