"""NoCloud: meta-data, user-data, vendor-data and network-config, YAML or JSON."""
from esxi_netinit import cloudconfig, keys, netconfig, settings, yamlsubset
from esxi_netinit.readers import decode, find, parse_json, read

FILES = ("meta-data", "user-data", "vendor-data", "network-config")
QUIET = (
    "instance-id", "local-hostname", "hostname", "public-keys", "public_keys", "launch-index", "availability-zone", "region",
    "cloud-name", "platform",
)


def present(directory):
    """Whether there is a file that makes it NoCloud's."""
    return any(find(directory, name) is not None for name in FILES)


def node_of(directory, name, problems):
    """The node of a YAML or JSON file, None where there is none to read."""
    path = find(directory, name)
    if path is None:
        return None
    raw = problems.whole(read, path, name)
    text = problems.whole(decode, raw, name) if raw else None
    if text is None or not text.strip():
        # An empty meta-data is usual: it only marks the volume.
        return None
    parse = parse_json if text.lstrip().startswith("{") else yamlsubset.parse
    return problems.whole(parse, text, name)


def load(directory, model, _, problems):
    """As openstack.load."""
    meta = node_of(directory, "meta-data", problems)
    if meta is not None and not meta.is_null():
        problems.attempt(meta_data, meta, model, problems)
    network = node_of(directory, "network-config", problems)
    if network is not None:
        problems.attempt(netconfig.read, network, model, problems)
    found = []
    for name in ("vendor-data", "user-data"):
        path = find(directory, name)
        raw = problems.whole(read, path, name) if path is not None else None
        found.append([(raw, name)] if raw else [])
    return found[0], found[1]


def meta_data(node, model, problems):
    instance = node.get("instance-id")
    model.instance_id = None if instance is None else problems.attempt(instance.text, 255)
    name = node.get("local-hostname", "hostname")
    value = None if name is None else problems.attempt(cloudconfig.host_name, name)
    if value is not None:
        model.hostname, model.fqdn = value, value if "." in value else None
    for key in ("public-keys", "public_keys"):
        keys.add(node.get(key), model, problems)
    for key, member in node.members().items():
        if key.startswith("esxi_") and settings.apply(key[5:], member, model, problems):
            continue
        if key in ("seedfrom", "dsmode") and not member.is_null():
            problems.note(member.path, "is not supported: " + (
                "nothing is fetched from there" if key == "seedfrom" else "metadata is used as soon as it is found"))
        elif key not in QUIET and not member.is_null():
            problems.note(member.path, "is not supported")
