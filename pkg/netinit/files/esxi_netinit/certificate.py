"""Whether a host's certificate is for its name. Python's library can't read
certificates, and all that is wanted is a name."""
import base64
import binascii
import re

PEM = re.compile(b"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
COMMON_NAME = b"\x55\x04\x03"  # 2.5.4.3 as DER writes it
DNS_NAME = b"\x82"  # of a subjectAltName
MAX_NAME = 127  # bytes; DER writes the length of longer ones in another way


def names(pem, name):
    """Whether the first certificate of a PEM file bears the name, as a common
    name or as an alternative one."""
    match = PEM.search(pem)
    wanted = name.lower().encode("ascii", "replace")
    if match is None or not 0 < len(wanted) <= MAX_NAME:
        return False
    try:
        der = base64.b64decode(match.group(1))
    except (ValueError, binascii.Error):
        return False
    # A common name's value has a type of its own before the length.
    return follows(der, COMMON_NAME, 1, wanted) or follows(der, DNS_NAME, 0, wanted)


def follows(der, mark, skip, wanted):
    at = der.find(mark)
    while at >= 0:
        value = der[at + len(mark) + skip:][:len(wanted) + 1]
        if len(value) > len(wanted) and value[0] == len(wanted) and value[1:].lower() == wanted:
            return True
        at = der.find(mark, at + 1)
    return False
