"""The error that all metadata readers raise."""
import re

PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,40}\Z")
# A VLAN of a card is often named so.
_DOTTED_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,40}\.[0-9]{1,4}\Z")
MAX_MESSAGE = 300  # characters


class MetadataError(Exception):
    """Metadata that can't be used.

    path is a file with a JSON path, in YAML with the line too
    (network_data.json:$.links[0].mtu, user-data:3:$.ntp.servers[0]). The
    message never quotes a value: it might be a password.
    """

    def __init__(self, path, message):
        Exception.__init__(self, path, message)
        self.path = path
        self.message = message[:MAX_MESSAGE]

    def __str__(self):
        return "%s: %s" % (self.path, self.message)


def child(path, key):
    """The JSON path of a member or an element."""
    if isinstance(key, int):
        return "%s[%d]" % (path, key)
    if PLAIN_KEY.match(key):
        return "%s.%s" % (path, key)
    if _DOTTED_KEY.match(key):
        return '%s["%s"]' % (path, key)
    # A strange key might be anything, even a password in the wrong place.
    return "%s.<a key of %d characters>" % (path, len(key))
