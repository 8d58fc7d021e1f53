"""The settings of ESXi itself that cloud-init has no keys for: "esxi:" in
user-data, "esxi_NAME" in the meta of an OpenStack server, and those that the
predecessor read from user_data.
"""
import re

from esxi_netinit import schema
from esxi_netinit.checks import one_of
from esxi_netinit.errors import MetadataError
from esxi_netinit.node import FALSE, TRUE
from esxi_netinit.readers import parse_json

# What the predecessor's user_data holds at its top, and how its port groups
# are named.
TOP_LEVEL = (
    "configure_all_networks", "management_vswitch", "management_portgroup", "first_extra_vswitch_number",
    "extra_portgroup_prefix",
)
DISK_KEYS = ("image", "serial", "wwn", "path", "vendor", "model", "size", "min_gib", "firstdisk")
_DEVICE = re.compile(r"(/vmfs/devices/disks/|/dev/disks/|naa\.|eui\.|t10\.|mpx\.|vml\.)")
_HEX = re.compile(r"[0-9a-f]{8,32}\Z")


def apply(name, node, model, problems):
    """Takes over one setting; False where it is not known."""
    if name in _SETTERS:
        if not node.is_null():
            problems.attempt(_SETTERS[name], node, model, problems)
        return True
    return False


def _option(name, read):
    def set_option(node, model, _):
        model.options[name] = read(node)
    return set_option


def _flag(node):
    return node.boolean()


def _name(limit):
    def read(node):
        text = node.text(limit).strip()
        if not text:
            raise node.wrong("is empty")
        return text
    return read


def _overwrite(name):
    def set_overwrite(node, model, _):
        model.install[name] = node.boolean()
    return set_overwrite


def _install_disk(node, model, _):
    model.install["disk"] = parse_disk(node)


def _serial_console(node, model, _):
    model.serial_console = node.boolean()


def _syslog(node, model, _):
    text = node.text(300).strip()
    if not schema.SYSLOG.match(text):
        raise node.wrong("is not a log host such as udp://10.0.0.1:514")
    model.syslog = text


def _license(node, model, _):
    text = node.text(64).strip().upper()
    if not schema.LICENSE.match(text):
        raise node.wrong("is not a license key")
    model.license = text


def _kernel_options(node, model, problems):
    items = [(node, word) for word in node.text(4096).split()] if node.is_text() else [
        (item, item.value) for item in node.elements()]
    for item, word in items:
        if not item.is_text() or not schema.KERNEL_OPTION.match(word) or len(word) > 255:
            problems.error(item.wrong("is not a kernel option"))
        elif word not in model.kernel_options and len(model.kernel_options) < 64:
            model.kernel_options.append(word)


def _ssh(node, model, problems):
    if node.kind != "map":
        model.ssh["enable"] = node.boolean()
        return
    problems.leftover(node, ("enable", "shell"))
    for name in ("enable", "shell"):
        found = node.get(name)
        value = None if found is None else problems.attempt(found.boolean)
        if value is not None:
            model.ssh[name] = value


def _shell(node, model, _):
    model.ssh["shell"] = node.boolean()


_SETTERS = {
    "configure_all_networks": _option("configure_all_networks", _flag),
    "management_vswitch": _option("management_vswitch", _name(32)),
    "management_portgroup": _option("management_portgroup", _name(80)),
    "first_extra_vswitch_number": _option("first_extra_vswitch_number", lambda node: node.integer(0, 4000)),
    "extra_portgroup_prefix": _option("extra_portgroup_prefix", _name(64)),
    "keep": _option("keep", _flag),
    "quick_boot": _option("quick_boot", _flag),
    "maintenance_mode": _option("maintenance_mode", _flag),
    "reboot": _option("reboot", _flag),
    "install_disk": _install_disk,
    "overwritevmfs": _overwrite("overwritevmfs"),
    "overwritevsan": _overwrite("overwritevsan"),
    "serial_console": _serial_console,
    "syslog": _syslog,
    "license": _license,
    "kernel_options": _kernel_options,
    "ssh": _ssh,
    "shell": _shell,
}


def parse_disk(node):
    """install.disk from an object, from its JSON as a text (the meta of a
    server holds nothing but texts), from "key=value;key=value", or from a
    word: image, smallest, largest, or a device."""
    if node.kind == "map":
        return _disk_of(node)
    text = node.text(1024).strip()
    if text.startswith("{"):
        return _disk_of(_relocated(parse_json(text, node.path), node.path))
    out = dict(schema.NO_DISK)
    if text in ("smallest", "largest"):
        out["size"] = text
    elif text == "image":
        out["image"] = True
    elif _DEVICE.match(text):
        out["path"] = text
    else:
        for pair in [part for part in text.split(";") if part.strip()]:
            key, sign, value = pair.partition("=")
            if not sign or key.strip() not in DISK_KEYS:
                raise node.wrong("is neither a device nor key=value with a key of " + ", ".join(DISK_KEYS))
            _set_disk(out, key.strip(), value.strip(), node)
    return _checked(out, node)


def _relocated(node, path):
    node.path = path
    return node


def _disk_of(node):
    out = dict(schema.NO_DISK)
    for key, member in node.members().items():
        if key not in DISK_KEYS:
            raise member.wrong("is not known")
        if member.is_null():
            continue
        if key == "firstdisk" and member.kind == "seq":
            _set_disk(out, key, ",".join(item.text(64) for item in member.elements()), member)
        elif key == "image" and not member.is_text():
            out["image"] = member.boolean()
        else:
            _set_disk(out, key, member.text(512).strip(), member)
    return _checked(out, node)


def _set_disk(out, key, value, node):
    if not value:
        raise node.wrong("is empty")
    if key == "image":
        if value.lower() not in TRUE + FALSE + ("1", "0"):
            raise node.wrong("is neither true nor false")
        out[key] = value.lower() in TRUE + ("1",)
    elif key == "wwn":
        out[key] = _wwn(value, node)
    elif key == "size":
        one_of("smallest", "largest")(value, node.path)
        out[key] = value
    elif key == "min_gib":
        if not value.isdigit() or len(value) > 7:
            raise node.wrong("is not a whole number of GiB")
        out["min_bytes"] = int(value) << 30
    elif key == "firstdisk":
        out[key] = [part.strip() for part in value.split(",") if part.strip()]
    else:
        out[key] = value


def _wwn(value, node):
    """0x and lower-case digits, from the forms that tools print."""
    digits = value.lower()
    for prefix in ("0x", "naa.", "eui."):
        if digits.startswith(prefix):
            digits = digits[len(prefix):]
    digits = digits.replace(":", "").replace("-", "")
    if not _HEX.match(digits):
        raise node.wrong("is not a WWN")
    return "0x" + digits


def _checked(disk, node):
    if disk == schema.NO_DISK:
        raise node.wrong("chooses no disk")
    others = [key for key in disk if key != "image" and disk[key] not in (None, [])]
    if disk["image"] and others:
        raise node.wrong("chooses the image's disk and another")
    if disk["firstdisk"] and len(others) > 1:
        raise node.wrong("has firstdisk and something else")
    try:
        return schema.disk(disk, node.path)
    except MetadataError as err:
        raise node.wrong("has a member that %s" % err.message)
