"""Addresses as metadata writes them, brought into one form.

Every function raises ValueError with a text that does not quote its input.
Python's ipaddress differs between versions (leading zeros, scope ids), so
what it may differ in is refused here first.
"""
import ipaddress
import re

_IPV4 = re.compile(r"(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){3}\Z")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]{2,45}\Z")
_MAC = re.compile(r"[0-9a-fA-F]{2}([:-]?)([0-9a-fA-F]{2}\1){4}[0-9a-fA-F]{2}\Z")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\Z")
_HOST_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z")
_PREFIX = re.compile(r"[0-9]{1,3}\Z")
MAX_NAME = 253  # characters of a host name, RFC 1035 without the final dot


def parse(value):
    """An ipaddress object of an IPv4 or IPv6 address without a scope."""
    if not isinstance(value, str):
        raise ValueError("not an address")
    value = value.strip()
    if _IPV4.match(value) or (":" in value and _IPV6.match(value)):
        try:
            return ipaddress.ip_address(value)
        except ValueError:
            pass
    raise ValueError("not an IPv4 or IPv6 address")


def address(value, family=None):
    """The address as text: IPv6 compressed and in lower case."""
    ip = parse(value)
    if family is not None and ip.version != family:
        raise ValueError("not an IPv%d address" % family)
    return str(ip)


def usable(value, family=None):
    """An address that a host can have or reach."""
    text = address(value, family)
    ip = ipaddress.ip_address(text)
    if ip.is_unspecified or ip.is_multicast or ip.is_loopback or text == "255.255.255.255":
        raise ValueError("not the address of a host")
    return text


def prefix_length(value, family):
    """A prefix length from a number, its text, or a netmask."""
    width = 32 if family == 4 else 128
    if isinstance(value, int) and not isinstance(value, bool):
        length = value
    elif isinstance(value, str) and _PREFIX.match(value.strip()):
        length = int(value)
    else:
        length = _mask_length(value, family, width)
    if not 0 <= length <= width:
        raise ValueError("not a prefix length of IPv%d" % family)
    return length


def _mask_length(value, family, width):
    try:
        mask = parse(value)
    except ValueError:
        raise ValueError("neither a netmask nor a prefix length")
    if mask.version != family:
        raise ValueError("a netmask of the wrong family")
    bits = bin(int(mask))[2:].zfill(width)
    length = len(bits.rstrip("0"))
    if "0" in bits[:length]:
        raise ValueError("a netmask with a gap")
    return length


def network_of(value, prefix):
    """The network that an address lies in, as text without the prefix."""
    ip = parse(value)
    return str(ipaddress.ip_network("%s/%d" % (ip, prefix), strict=False).network_address)


def broadcast_of(value, prefix):
    """The last address of the network that an address lies in."""
    return str(ipaddress.ip_network("%s/%d" % (parse(value), prefix), strict=False).broadcast_address)


def contains(network, prefix, value):
    """Whether network/prefix holds the address; False across families."""
    ip = parse(value)
    net = ipaddress.ip_network("%s/%d" % (network, prefix), strict=False)
    return ip.version == net.version and ip in net


def netmask(prefix):
    """The IPv4 netmask of a prefix length: 24 is 255.255.255.0."""
    return str(ipaddress.ip_network("0.0.0.0/%d" % prefix).netmask)


def mac(value):
    """A MAC address as aa:bb:cc:dd:ee:ff; with dashes, or without, is read."""
    if not isinstance(value, str) or not _MAC.match(value.strip()):
        raise ValueError("not a MAC address")
    digits = re.sub("[:-]", "", value.strip()).lower()
    pairs = [digits[i:i + 2] for i in range(0, 12, 2)]
    if digits == "0" * 12 or int(pairs[0], 16) & 1:
        raise ValueError("not the MAC address of one interface")
    return ":".join(pairs)


def host_name(value):
    """A host name, RFC 1123: letters, digits and dashes; a final dot goes."""
    return _name(value, _HOST_LABEL, "not a host name")


def domain(value):
    """A DNS domain, where underscores are seen."""
    return _name(value, _LABEL, "not a domain")


def _name(value, label, problem):
    if not isinstance(value, str):
        raise ValueError(problem)
    name = value.strip()
    if name.endswith("."):
        name = name[:-1]
    if not name or len(name) > MAX_NAME or not all(label.match(part) for part in name.split(".")):
        raise ValueError(problem)
    return name


def server(value):
    """A host by its name or its address."""
    try:
        return address(value)
    except ValueError:
        pass
    name = host_name(value)
    if name.rsplit(".", 1)[-1].isdigit():
        # 10.0.0.300 is a mistyped address, not a name.
        raise ValueError("neither a host name nor an address")
    return name
