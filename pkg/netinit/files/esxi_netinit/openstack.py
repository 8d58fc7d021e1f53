"""A config drive: openstack/latest, or the newest dated folder beside it."""
import re

from esxi_netinit import addresses, cloudconfig, keys, netdata, passwords, settings, userdata
from esxi_netinit.readers import decode, find, parse_json, read

_DATED = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}\Z")
# Nova's and Ironic's own, which ask for nothing.
QUIET = (
    "uuid", "hostname", "name", "public_keys", "keys", "admin_pass", "meta", "random_seed", "project_id",
    "availability_zone", "launch_index", "devices", "dedicated_cpus", "launch-index", "instance_type", "local-hostname",
)


def folder(directory, listdir):
    """The folder of the newest metadata, or None."""
    top = find(directory, "openstack")
    if top is None:
        return None
    latest = find(top, "latest")
    if latest is not None:
        return latest
    try:
        dated = sorted(name for name in listdir(top) if _DATED.match(name))
    except OSError:
        return None
    return find(top, dated[-1]) if dated else None


def json_of(directory, name, problems):
    """The node of a JSON file; None where there is none, it is empty, or it
    is broken, which is reported."""
    path = find(directory, name)
    if path is None:
        return None
    raw = problems.whole(read, path, name)
    if raw is None:
        return None
    if not raw.strip():
        problems.note(name, "is empty")
        return None
    text = problems.whole(decode, raw, name)
    return None if text is None else problems.whole(parse_json, text, name)


def load(directory, model, secrets, problems):
    """Fills model and secrets; returns [(text or bytes, name)] of vendor-data
    and of user-data."""
    meta = json_of(directory, "meta_data.json", problems)
    if meta is not None:
        problems.attempt(meta_data, meta, model, secrets, problems)
    network = json_of(directory, "network_data.json", problems)
    if network is not None:
        problems.attempt(netdata.read, network, model, problems)
    vendor = []
    for name in ("vendor_data.json", "vendor_data2.json"):
        node = json_of(directory, name, problems)
        if node is not None:
            vendor += problems.attempt(userdata.from_vendor, node, problems) or []
    path = find(directory, "user_data")
    raw = problems.whole(read, path, "user_data") if path is not None else None
    return vendor, [(raw, "user_data")] if raw else []


def meta_data(node, model, secrets, problems):
    """uuid, names, keys, admin_pass and meta of meta_data.json."""
    uuid = node.get("uuid")
    model.instance_id = None if uuid is None else problems.attempt(uuid.text, 255)
    for name in ("hostname", "name"):
        found = node.get(name)
        # A server's name is any text; only a host name can be used.
        value = None if found is None else problems.attempt(cloudconfig.host_name, found)
        if value is not None:
            model.hostname, model.fqdn = value, value if "." in value else None
            break
    keys.add(node.get("public_keys"), model, problems)
    listed = node.get("keys")
    for item in [] if listed is None else problems.attempt(listed.elements) or []:
        problems.attempt(_key, item, model, problems)
    password = node.get("admin_pass")
    if password is not None and not (password.is_text() and not password.value):
        problems.attempt(passwords.set_plain, password, secrets)
    meta = node.get("meta")
    if meta is not None:
        problems.attempt(server_meta, meta, model, problems)
    files = node.get("files")
    if files is not None and files.value:
        problems.note(files.path, "is not supported: the files are not written")
    if node.get("network_config") is not None and node.get("network_config").value:
        problems.note(node.path + ".network_config", "is not supported; network_data.json is read")
    problems.leftover(node, QUIET + ("files", "network_config"))


def _key(node, model, problems):
    kind = node.get("type")
    if kind is not None and kind.text(32) != "ssh":
        problems.note(node.path, "is not an SSH key: ignored")
        return
    keys.add(node.get("data"), model, problems)


def server_meta(node, model, problems):
    """The settings among a server's own properties; the others are free."""
    for name, member in node.members().items():
        if name.lower().startswith("esxi_") and not settings.apply(name[5:].lower(), member, model, problems):
            problems.note(member.path, "is not supported")
        elif name in settings.TOP_LEVEL:
            settings.apply(name, member, model, problems)
