"""The keys of #cloud-config that mean something on an ESXi host. All others
are noted: nothing is ignored in silence."""
import base64

from esxi_netinit import addresses, keys, passwords, schema, settings

SHELL = "sh"
MAX_CERTIFICATE = 32 << 10
# In this order: the last password prevails, as in cloud-init.
FIRST = ("ssh_authorized_keys", "users", "password", "chpasswd")


def apply(root, model, secrets, problems):
    """Fills model and secrets from the merged cloud-config."""
    ordered = [name for name in FIRST if name in root.members()]
    names(root, model, problems)
    for name in ordered + [name for name in root.members() if name not in FIRST]:
        _one(name, root, model, secrets, problems)


def _one(name, root, model, secrets, problems):
    node = root.get(name)
    if node is None:
        return
    if name in _HANDLERS:
        problems.attempt(_HANDLERS[name], node, model, secrets, problems)
    elif name not in settings.TOP_LEVEL or not settings.apply(name, node, model, problems):
        problems.note(node.path, "is not supported")


def names(root, model, problems):
    """hostname and fqdn together, as cloud-init combines them: the FQDN is
    also the name where there is no other. They replace the metadata's."""
    host, full = root.get("hostname"), root.get("fqdn")
    host = None if host is None else problems.attempt(host_name, host)
    full = None if full is None else problems.attempt(host_name, full)
    if host is not None or full is not None:
        model.hostname = host or full
        model.fqdn = full or (host if "." in host else None)


def host_name(node):
    """A name that a host can have."""
    name = node.convert(addresses.host_name)
    if name.split(".")[0].lower() == "localhost":
        raise node.wrong("is localhost, which names no host")
    return name


def _nothing(*_):
    """Read elsewhere."""


def _keys(node, model, _, problems):
    keys.add(node, model, problems)


def _users(node, model, secrets, problems):
    """Root's entry; "default" is cloud-init's own user, which ESXi lacks."""
    for item in node.elements():
        if item.is_text():
            if item.value != "default":
                problems.note(item.path, "is another user than root: ignored")
            continue
        problems.attempt(_user, item, model, secrets, problems)


def _user(node, model, secrets, problems):
    name = node.get("name")
    if name is None or name.text(64) != passwords.ROOT:
        problems.note(node.path, "is another user than root: ignored")
        return
    known = ("name", "ssh_authorized_keys", "ssh-authorized-keys", "passwd", "hashed_passwd", "plain_text_passwd", "lock_passwd")
    problems.leftover(node, known)
    for key in ("ssh_authorized_keys", "ssh-authorized-keys"):
        keys.add(node.get(key), model, problems)
    lock = node.get("lock_passwd")
    if lock is not None and problems.attempt(lock.boolean):
        problems.note(lock.path, "root is not locked: nobody could get in")
    passwords.user(node, secrets, problems)


def _password(node, _, secrets, __):
    passwords.set_either(node, secrets)


def _chpasswd(node, _, secrets, problems):
    passwords.chpasswd(node, secrets, problems)


def _esxi(node, model, _, problems):
    for name, member in node.members().items():
        if not settings.apply(name, member, model, problems):
            problems.note(member.path, "is not supported")


def _ntp(node, model, _, problems):
    problems.leftover(node, ("enabled", "servers", "pools"))
    enabled = node.get("enabled")
    if enabled is not None and problems.attempt(enabled.boolean) is False:
        problems.note(enabled.path, "time servers are not set")
        return
    found = []
    for name in ("servers", "pools"):
        listed = node.get(name)
        for item in [] if listed is None else problems.attempt(listed.elements) or []:
            server = problems.attempt(item.convert, addresses.server)
            if server is not None and server not in found:
                found.append(server)
    if found:
        # Asked for here: instead of what the network's services name.
        model.ntp = found[:schema.MAX_SERVERS]


def _commands(when):
    def read(node, model, _, problems):
        for item in node.elements():
            command = problems.attempt(_command, item, when)
            if command is None:
                continue
            if len(model.commands) >= schema.MAX_COMMANDS:
                raise node.wrong("has more commands than the %d that are taken" % schema.MAX_COMMANDS)
            model.commands.append(command)
    return read


def _command(node, when):
    """A text for the shell, or a list that is run without one."""
    origin = node.path[:schema.MAX_PATH]
    if node.kind == "seq":
        argv = [item.text(4096, True) for item in node.value]
        if not argv or len(argv) > 256 or not argv[0]:
            raise node.wrong("is not a command")
        return {"when": when, "argv": argv, "origin": origin}
    text = node.text(schema.MAX_TEXT, True)
    if not text.strip():
        raise node.wrong("is empty")
    return {"when": when, "interpreter": SHELL, "text": text, "origin": origin}


def _write_files(node, model, _, problems):
    for item in node.elements():
        found = problems.attempt(_file, item, problems)
        if found is None:
            continue
        if len(model.write_files) >= schema.MAX_FILES:
            raise node.wrong("has more files than the %d that are taken" % schema.MAX_FILES)
        model.write_files.append(found)


def _file(node, problems):
    problems.leftover(node, ("path", "content", "encoding", "permissions", "owner", "append", "defer"))
    path, content, encoding = node.get("path"), node.members().get("content"), node.get("encoding")
    if path is None:
        raise node.wrong("has no path")
    append = node.get("append")
    if append is not None and append.boolean():
        raise append.wrong("is not supported: the file is not written")
    owner = node.get("owner")
    if owner is not None and owner.text(64) not in ("root", "root:root", "0:0"):
        problems.note(owner.path, "is not root: ignored")
    mode = node.get("permissions")
    mode = "0644" if mode is None else schema.file_mode(mode.text(8).strip('"'), mode.path)
    text = "" if content is None or content.is_null() else content.text(schema.MAX_TEXT, True)
    data = text.encode("utf-8")
    if encoding is not None and encoding.text(32) in ("b64", "base64"):
        try:
            data = base64.b64decode("".join(text.split()).encode("ascii"), validate=True)
        except ValueError:
            raise content.wrong("is not base64")
    elif encoding is not None and encoding.value not in ("text/plain", ""):
        raise encoding.wrong("is not supported: the file is not written")
    return {
        "path": schema.file_path(path.text(1024), path.path), "mode": mode,
        "content_b64": base64.b64encode(data).decode("ascii"),
    }


def _ca_certs(node, model, _, problems):
    problems.leftover(node, ("trusted", "remove_defaults", "remove-defaults"))
    remove = node.get("remove_defaults", "remove-defaults")
    if remove is not None and problems.attempt(remove.boolean):
        problems.note(remove.path, "ESXi's own certificates stay")
    listed = node.get("trusted")
    for item in [] if listed is None else (listed.value if listed.kind == "seq" else [listed]):
        problems.attempt(_certificates, item, model)


def _certificates(node, model):
    """One text may hold several certificates."""
    text = node.text(schema.MAX_CERTIFICATES * MAX_CERTIFICATE, True)
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    parts = text.split(begin)
    if len(parts) < 2 or parts[0].strip():
        raise node.wrong("is not a PEM certificate")
    for part in parts[1:]:
        body, found, rest = part.partition(end)
        if not found or rest.strip():
            raise node.wrong("is not a PEM certificate")
        lines = [line.strip() for line in body.splitlines() if line.strip()]
        pem = schema.certificate("\n".join([begin] + lines + [end]) + "\n", node.path)
        if pem not in model.ca_certs:
            if len(model.ca_certs) >= schema.MAX_CERTIFICATES:
                raise node.wrong("has more certificates than the %d that are taken" % schema.MAX_CERTIFICATES)
            model.ca_certs.append(pem)


def _phone_home(node, model, _, problems):
    problems.leftover(node, ("url", "post", "tries"))
    url, post, tries = node.get("url"), node.get("post"), node.get("tries")
    if url is None:
        raise node.wrong("has no url")
    address = url.text(2048).strip().replace("$INSTANCE_ID", model.instance_id or "")
    if not schema.URL.match(address):
        raise url.wrong("is not an http or https URL without a user")
    model.phone_home = {"url": address, "post": list(schema.PHONE_HOME_POST), "tries": 10}
    if post is not None and not (post.is_text() and post.value == "all"):
        model.phone_home["post"] = []
        for item in problems.attempt(post.elements) or []:
            word = problems.attempt(item.text, 64)
            if word in schema.PHONE_HOME_POST and word not in model.phone_home["post"]:
                model.phone_home["post"].append(word)
            elif word is not None and word not in schema.PHONE_HOME_POST:
                problems.note(item.path, "is not supported")
    number = None if tries is None else problems.attempt(tries.integer, 1, 100)
    if number is not None:
        model.phone_home["tries"] = number


def _power_state(node, model, _, problems):
    mode = node.get("mode")
    if mode is None:
        raise node.wrong("has no mode")
    if mode.text(16) == "reboot":
        model.options["reboot"] = True
    else:
        problems.note(mode.path, "only reboot is supported")
    for name in ("delay", "message", "timeout", "condition"):
        member = node.get(name)
        if member is not None and (name, member.value) not in (("condition", True), ("delay", "now"), ("delay", "+0")):
            problems.note(member.path, "is not supported")


_HANDLERS = {
    "hostname": _nothing, "fqdn": _nothing,
    "ssh_authorized_keys": _keys, "users": _users, "password": _password, "chpasswd": _chpasswd, "esxi": _esxi,
    "ntp": _ntp, "bootcmd": _commands("boot"), "runcmd": _commands("run"), "write_files": _write_files,
    "ca_certs": _ca_certs, "ca-certs": _ca_certs, "phone_home": _phone_home, "power_state": _power_state,
}
