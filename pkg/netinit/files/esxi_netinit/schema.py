"""The shape of a model, member by member, and what has to hold between them.

Limits are far above what hosts have, and low enough that no metadata makes a
boot bank overflow or a first boot take for ever.
"""
import base64
import re

from esxi_netinit import addresses
from esxi_netinit.checks import (
    Required, boolean, converted, list_of, matching, nullable, number, one_of, struct, text,
)
from esxi_netinit.errors import MetadataError, child

MAX_LINKS = 128
MAX_BOND_LINKS = 32
MAX_NETWORKS = 256
MAX_ROUTES = 128  # of one network
MAX_SERVERS = 32
MAX_KEYS = 64
MAX_KEY = 16 << 10  # characters; an RSA key of 16384 bits has 2,800
MAX_COMMANDS = 256
MAX_TEXT = 256 << 10  # characters of a script or a file
MAX_FILES = 64
MAX_CERTIFICATES = 64
MAX_NOTES = 256
MIN_MTU, MAX_MTU = 1280, 9190  # what a VMkernel interface takes
MAX_VLAN = 4094  # 4095 would give all VLANs to the host itself
MAX_PATH = 200
MAX_MESSAGE = 300

BOND_MODES = ("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb")
METHODS = {4: ("static", "dhcp"), 6: ("static", "slaac", "dhcpv6", "dhcpv6-stateless")}
PHONE_HOME_POST = ("instance_id", "hostname", "fqdn", "pub_key_rsa", "pub_key_ecdsa", "pub_key_ed25519")

NIC = re.compile(r"vmnic[0-9]{1,4}\Z")
LICENSE = re.compile(r"[0-9A-Z]{5}(-[0-9A-Z]{5}){4}\Z")
MODE = re.compile(r"0?[0-7]{3}\Z")
FILE = re.compile(r"/[^\0]*\Z")
URL = re.compile(r"https?://[^\s/?#@]+([/?#][^\s]*)?\Z")
SYSLOG = re.compile(r"((tcp|udp|ssl)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?"
                    r"|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?|[A-Za-z0-9._-]+(:[0-9]{1,5})?|[0-9A-Fa-f:.]+)\Z")
# A blank would split a kernel option in two; boot.cfg's separators end it.
KERNEL_OPTION = re.compile(r"(?!.*---)[!-~]+\Z")
KEY_KINDS = ("ssh-rsa", "ssh-dss", "ssh-ed25519", "ecdsa-sha2-", "sk-ssh-ed25519@", "sk-ecdsa-sha2-")
_KEY_DATA = re.compile(r"[A-Za-z0-9+/]+={0,2}\Z")
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+\n-----END CERTIFICATE-----\n\Z")

_id = text(MAX_PATH, empty=False)
_mac = converted(addresses.mac)
_server = converted(addresses.server)
_address = converted(addresses.address)
_domain = converted(addresses.domain)
file_mode = matching(MODE, "a file mode such as 0644")


def ssh_key(value, path):
    """One line of authorized_keys that begins with the kind of the key. sshd
    reads it, so options before the kind (command=...) are not taken over."""
    value = text(MAX_KEY)(value, path)
    words = value.split(None, 2)
    if len(words) < 2 or not words[0].startswith(KEY_KINDS) or not _KEY_DATA.match(words[1]):
        raise MetadataError(path, "is not an SSH public key")
    if value != value.strip() or any(ord(char) > 0x7E for char in value):
        raise MetadataError(path, "is not an SSH public key in ASCII")
    return value


def _base64(value, path):
    value = text(2 * MAX_TEXT)(value, path)
    try:
        base64.b64decode(value.encode("ascii"), validate=True)
    except ValueError:
        raise MetadataError(path, "is not base64")
    return value


def file_path(value, path):
    value = matching(FILE, "an absolute path", 1024)(value, path)
    if any(part in ("..", ".") for part in value.split("/")) or value.endswith("/"):
        raise MetadataError(path, "is not a plain absolute path of a file")
    return value


def certificate(value, path):
    if not _PEM.match(text(32 << 10, lines=True)(value, path)):
        raise MetadataError(path, "is not one PEM certificate")
    return value


def _command(value, path):
    """{"argv": [...]} or {"text": ..., "interpreter": ...}, and when."""
    return _argv(value, path) if isinstance(value, dict) and "argv" in value else _script(value, path)


script_text = text(MAX_TEXT, lines=True, empty=False)

_argv = struct({
    "when": (one_of("boot", "run"), "run"),
    "argv": (list_of(text(4096, lines=True), 256, least=1), Required),
    "origin": (nullable(text(MAX_PATH)), None),
})
_script = struct({
    "when": (one_of("boot", "run"), "run"),
    "interpreter": (one_of("sh", "python"), "sh"),
    "text": (script_text, Required),
    "origin": (nullable(text(MAX_PATH)), None),
})

_link = struct({
    "id": (_id, Required),
    "kind": (one_of("physical", "bond", "vlan"), "physical"),
    "mac": (nullable(_mac), None),
    "nic": (nullable(matching(NIC, "a vmnic")), None),
    "mtu": (nullable(number(MIN_MTU, MAX_MTU)), None),
    "bond": (nullable(struct({
        "mode": (one_of(*BOND_MODES), "active-backup"),
        "links": (list_of(_id, MAX_BOND_LINKS, least=1), Required),
        "primary": (nullable(_id), None),
        "miimon": (nullable(number(0, 1 << 31)), None),
        "xmit_hash_policy": (nullable(text(32)), None),
    })), None),
    "vlan": (nullable(struct({
        "id": (number(0, MAX_VLAN), Required),
        "link": (_id, Required),
        "mac": (nullable(_mac), None),
    })), None),
})
_network = struct({
    "id": (_id, Required),
    "link": (_id, Required),
    "network_id": (nullable(text(MAX_PATH)), None),
    "family": (one_of(4, 6), Required),
    "method": (one_of("static", "dhcp", "slaac", "dhcpv6", "dhcpv6-stateless"), Required),
    "address": (nullable(_address), None),
    "prefix": (nullable(number(0, 128)), None),
    "routes": (list_of(struct({
        "network": (_address, Required),
        "prefix": (number(0, 128), Required),
        "gateway": (_address, Required),
    }), MAX_ROUTES), list),
    "dns": (list_of(_address, MAX_SERVERS), list),
})

_dns = struct({"servers": (list_of(_address, MAX_SERVERS), list), "search": (list_of(_domain, MAX_SERVERS), list)})
_ssh = struct({"enable": (boolean, False), "shell": (boolean, False)})
_options = struct({
    "configure_all_networks": (nullable(boolean), None),  # null: the metadata does not say
    "management_vswitch": (text(32, empty=False), "vSwitch0"),
    "management_portgroup": (text(80, empty=False), "Management Network"),
    "first_extra_vswitch_number": (number(0, 4000), 1),
    "extra_portgroup_prefix": (nullable(text(64, empty=False)), None),  # null: the plan's own naming
    "keep": (boolean, False),
    "quick_boot": (boolean, False),
    "maintenance_mode": (boolean, False),
    "reboot": (boolean, True),
})
_phone_home = nullable(struct({
    "url": (matching(URL, "an http or https URL without a user", 2048), Required),
    "post": (list_of(one_of(*PHONE_HOME_POST), len(PHONE_HOME_POST)), list),
    "tries": (number(1, 100), 10),
}))
disk = struct({
    "image": (boolean, False),  # true: the disk that carries the image, as by default
    "serial": (nullable(text(128, empty=False)), None),
    "wwn": (nullable(matching(re.compile(r"0x[0-9a-f]{8,32}\Z"), "a WWN")), None),
    "path": (nullable(text(512, empty=False)), None),  # a device of /vmfs/devices/disks, or its name
    "vendor": (nullable(text(64, empty=False)), None),
    "model": (nullable(text(64, empty=False)), None),
    "size": (nullable(one_of("smallest", "largest")), None),
    "min_bytes": (nullable(number(1, 1 << 62)), None),
    "firstdisk": (list_of(matching(re.compile(r"[A-Za-z0-9_./ -]+\Z"), "a disk filter", 64), 16), list),
})
NO_DISK = disk({}, "$")
_install = struct({
    "disk": (nullable(disk), None),
    "overwritevmfs": (nullable(boolean), None),
    "overwritevsan": (nullable(boolean), None),
})

_members = {
    "version": (one_of(1), Required),
    "source": (one_of("openstack", "nocloud", "image"), "image"),
    "instance_id": (nullable(text(255)), None),
    "hostname": (nullable(converted(addresses.host_name)), None),
    "fqdn": (nullable(converted(addresses.host_name)), None),
    "ssh_keys": (list_of(ssh_key, MAX_KEYS), list),
    "links": (list_of(_link, MAX_LINKS), list),
    "networks": (list_of(_network, MAX_NETWORKS), list),
    "dns": (_dns, lambda: _dns({}, "$")),
    "ntp": (list_of(_server, MAX_SERVERS), list),
    "syslog": (nullable(matching(SYSLOG, "a log host", 300)), None),
    "license": (nullable(matching(LICENSE, "a license key")), None),
    "ssh": (_ssh, lambda: _ssh({}, "$")),
    "serial_console": (nullable(boolean), None),
    "kernel_options": (list_of(matching(KERNEL_OPTION, "a kernel option"), 64), list),
    "commands": (list_of(_command, MAX_COMMANDS), list),
    "write_files": (list_of(struct({
        "path": (file_path, Required),
        "content_b64": (_base64, Required),
        "mode": (file_mode, "0644"),
    }), MAX_FILES), list),
    "ca_certs": (list_of(certificate, MAX_CERTIFICATES), list),
    "options": (_options, lambda: _options({}, "$")),
    "phone_home": (_phone_home, None),
    "install": (_install, lambda: _install({}, "$")),
    "notes": (list_of(struct({
        "path": (text(MAX_PATH), Required),
        "message": (text(MAX_MESSAGE), Required),
    }), MAX_NOTES), list),
}
MODEL = struct(_members)


def defaults():
    """A fresh empty model without its version."""
    model = MODEL({"version": 1}, "$")
    del model["version"]
    return model


def check(data, path="$"):
    """The whole: members, then what has to hold between them."""
    out = MODEL(data, path)
    links = _check_links(out["links"], path)
    seen = set()
    for i, network in enumerate(out["networks"]):
        where = child(child(path, "networks"), i)
        if network["id"] in seen:
            raise MetadataError(child(where, "id"), "is used twice")
        seen.add(network["id"])
        if network["link"] not in links:
            raise MetadataError(child(where, "link"), "names no link")
        _check_network(network, where)
    return out


def _check_links(links, path):
    """References lead to links that are there, and can't form a circle: a
    bond is made of cards, and a VLAN lies on a card or on a bond."""
    by_id = {}
    for i, link in enumerate(links):
        if link["id"] in by_id:
            raise MetadataError(child(child(child(path, "links"), i), "id"), "is used twice")
        by_id[link["id"]] = link
    owner = {}
    for i, link in enumerate(links):
        where = child(child(path, "links"), i)
        for kind in ("bond", "vlan"):
            if (link[kind] is not None) != (link["kind"] == kind):
                raise MetadataError(child(where, kind), "does not fit the kind of the link")
        if link["kind"] == "bond":
            _check_bond(link, by_id, owner, child(where, "bond"))
        elif link["kind"] == "vlan":
            below = by_id.get(link["vlan"]["link"])
            if below is None or below["kind"] == "vlan":
                raise MetadataError(child(child(where, "vlan"), "link"), "names no physical link and no bond")
    return by_id


def _check_bond(link, by_id, owner, where):
    bond = link["bond"]
    for k, member in enumerate(bond["links"]):
        at = child(child(where, "links"), k)
        below = by_id.get(member)
        if below is None or below["kind"] != "physical":
            raise MetadataError(at, "names no physical link")
        if member in owner:
            raise MetadataError(at, "is a member of a bond already")
        owner[member] = link["id"]
    if bond["primary"] is not None and bond["primary"] not in bond["links"]:
        raise MetadataError(child(where, "primary"), "is not a member of the bond")


def _check_network(network, where):
    family = network["family"]
    if network["method"] not in METHODS[family]:
        raise MetadataError(child(where, "method"), "does not exist for IPv%d" % family)
    static = network["method"] == "static"
    for key in ("address", "prefix"):
        if (network[key] is not None) != static:
            raise MetadataError(child(where, key), "is missing" if static else "is there without a static method")
    if static:
        _check_prefix(network["address"], network["prefix"], family, where, "address")
        if network["prefix"] == 0:
            raise MetadataError(child(where, "prefix"), "is 0: every host would be in the subnet")
    for k, route in enumerate(network["routes"]):
        at = child(child(where, "routes"), k)
        _check_prefix(route["network"], route["prefix"], family, at, "network")
        _check_family(route["gateway"], family, child(at, "gateway"))
        if addresses.network_of(route["network"], route["prefix"]) != route["network"]:
            raise MetadataError(child(at, "network"), "has bits outside its prefix")


def _check_prefix(address, prefix, family, where, name):
    _check_family(address, family, child(where, name))
    if prefix > (32 if family == 4 else 128):
        raise MetadataError(child(where, "prefix"), "is too long for IPv%d" % family)


def _check_family(address, family, where):
    if addresses.parse(address).version != family:
        raise MetadataError(where, "is not an IPv%d address" % family)
