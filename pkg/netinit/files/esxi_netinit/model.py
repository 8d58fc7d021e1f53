"""What a host is to become: the one form that all metadata is brought into.

A Model holds no password. Its dictionary is the file that the installer leaves
for the first boot; from_dict takes nothing that is not listed in schema.py.
Passwords are in Secrets, which cannot be turned into text.

load() reads a folder of metadata; loader.py says how.
"""
import copy

from esxi_netinit import schema
from esxi_netinit.errors import MetadataError  # noqa: F401 (others import it from here)

VERSION = 1


class Secrets(object):
    """The root password, as plain text or as a hash. Never written as it is."""

    __slots__ = ("root_password", "root_hash")

    def __init__(self, root_password=None, root_hash=None):
        self.root_password = root_password
        self.root_hash = root_hash

    def __bool__(self):
        return self.root_password is not None or self.root_hash is not None

    def __repr__(self):
        return "Secrets(...)"

    __str__ = __repr__

    def __reduce_ex__(self, protocol):
        raise TypeError("secrets are not serialised")


class Model(object):
    """Attributes are the keys of to_dict() except version, and hold plain
    lists and dictionaries of its shape (schema.MODEL)."""

    def __init__(self):
        for key, value in schema.defaults().items():
            setattr(self, key, value)

    def to_dict(self):
        """A checked copy. MetadataError where an attribute has been filled
        with what from_dict would refuse."""
        data = {key: copy.deepcopy(getattr(self, key)) for key in schema.defaults()}
        data["version"] = VERSION
        return schema.check(data)

    @classmethod
    def from_dict(cls, data):
        """Reads what to_dict made. Unknown keys, other types and references
        to links that are not there are a MetadataError with a JSON path;
        missing keys have their defaults."""
        checked = schema.check(data)
        model = cls()
        for key in schema.defaults():
            setattr(model, key, checked[key])
        return model

    def note(self, path, message):
        """Remembers what is not supported. The message holds no secrets."""
        if len(self.notes) < schema.MAX_NOTES - 1:
            self.notes.append({"path": path[:schema.MAX_PATH], "message": message[:schema.MAX_MESSAGE]})
        elif len(self.notes) == schema.MAX_NOTES - 1:
            self.notes.append({"path": "$", "message": "more notes were left out"})

    def link(self, link_id):
        """The link of that id, None if there is none."""
        for link in self.links:
            if link["id"] == link_id:
                return link
        return None

    def uplinks(self, link_id):
        """(physical links, VLAN id or None, bond link or None) beneath a link.
        The primary of a bond comes first, then the order of the metadata."""
        link, vlan, bond = self.link(link_id), None, None
        if link is not None and link["kind"] == "vlan":
            vlan = link["vlan"]["id"]
            link = self.link(link["vlan"]["link"])
        if link is None:
            return [], vlan, None
        if link["kind"] != "bond":
            return [link], vlan, None
        bond = link
        ids = sorted(bond["bond"]["links"], key=lambda i: i != bond["bond"]["primary"])
        return [self.link(i) for i in ids], vlan, bond

    def mac_of(self, link_id):
        """The MAC address that the metadata wants for an interface on the
        link: a VLAN's own, the bond's, or the card's; None if it says none."""
        link = self.link(link_id)
        if link is None:
            return None
        if link["kind"] == "vlan":
            return link["vlan"]["mac"] or link["mac"] or self.mac_of(link["vlan"]["link"])
        if link["mac"] or link["kind"] != "bond":
            return link["mac"]
        physical = self.uplinks(link_id)[0]
        return physical[0]["mac"] if physical else None

    def mtu_of(self, link_id):
        """The MTU of a link, or of what lies beneath it; None for the default."""
        link = self.link(link_id)
        if link is None:
            return None
        if link["mtu"] is None and link["kind"] == "vlan":
            return self.mtu_of(link["vlan"]["link"])
        if link["mtu"] is None and link["kind"] == "bond":
            values = [p["mtu"] for p in self.uplinks(link_id)[0] if p["mtu"] is not None]
            return min(values) if values else None
        return link["mtu"]

    def management(self):
        """The network that the host is managed by, None without networks. The
        installer and the first boot must choose the same: the first with an
        IPv4 default route, then DHCP, any IPv4, an IPv6 default route, any."""
        wanted = (
            lambda n: n["family"] == 4 and n["method"] == "static" and has_default(n),
            lambda n: n["family"] == 4 and n["method"] == "dhcp",
            lambda n: n["family"] == 4,
            lambda n: has_default(n),
            lambda n: True,
        )
        for fits in wanted:
            for network in self.networks:
                if fits(network):
                    return network
        return None


def load(directory, source=None, strict=False):
    """(Model, Secrets) of a folder; see loader.load."""
    # Only the installer reads raw metadata: the first boot needs no readers.
    from esxi_netinit import loader

    return loader.load(directory, source, strict)


def has_default(network):
    """Whether a network has a default route."""
    return any(route["prefix"] == 0 for route in network["routes"])


def gateway(network):
    """The first default gateway of a network, or None."""
    for route in network["routes"]:
        if route["prefix"] == 0:
            return route["gateway"]
    return None
