"""load: a folder of metadata into a Model and Secrets.

The folder holds a config drive (openstack/latest/...), NoCloud's files, or both;
then the config drive counts. What prevails, from the least on: meta_data.json
or meta-data (with admin_pass and meta), vendor-data, user-data. Between the
last two it is by key, as in cloud-init: objects are merged, a list or a text
of user-data replaces that of vendor-data. SSH keys of meta-data are added to
those of the others. Commands run in this order: bootcmd, vendor-data's script,
user-data's script, runcmd.

A broken file or element is left out and noted, and the rest is used: a host
with half of its metadata can be reached, one without any can't.
"""
import base64
import os

from esxi_netinit import cloudconfig, nocloud, openstack, schema, userdata
from esxi_netinit.errors import MetadataError
from esxi_netinit.model import Model, Secrets
from esxi_netinit.node import merge
from esxi_netinit.readers import Problems

# A shorter password may be part of any word by chance.
MIN_SCRUBBED = 6


def load(directory, source=None, strict=False):
    """(Model, Secrets). source replaces what the layout says ("image" for
    files that the image carries). MetadataError where there is no metadata at
    all; with strict, also for the first element that is broken."""
    model, secrets, _ = load_reported(directory, source, strict)
    return model, secrets


def load_reported(directory, source=None, strict=False):
    """load with the Problems as third, which tell errors from notes."""
    problems = Problems(strict)
    unknown = None
    try:
        model, secrets = _load(directory, source, problems)
        model.to_dict()
        return model, secrets, problems
    except (MetadataError, MemoryError):
        raise
    except Exception as err:
        unknown = type(err).__name__
    # A fault of ours. Its text and its chain may hold the metadata.
    raise MetadataError(os.path.basename(directory) or "metadata", "could not be read (%s)" % unknown)


def _load(directory, source, problems):
    model, secrets = Model(), Secrets()
    model.ssh["enable"] = None  # not said yet
    folder = openstack.folder(directory, os.listdir)
    if folder is not None:
        model.source = "openstack"
        parts = openstack.load(folder, model, secrets, problems)
        if nocloud.present(directory):
            problems.note("meta-data", "is not read: there is a config drive beside it")
    elif nocloud.present(directory):
        model.source = "nocloud"
        parts = nocloud.load(directory, model, secrets, problems)
    else:
        raise MetadataError("metadata", "neither openstack/latest nor a file of NoCloud is there (meta-data, user-data, vendor-data, network-config)")
    if source is not None:
        model.source = source
    _user_data(parts, model, secrets, problems)
    _finish(model, secrets, problems)
    return model, secrets


def _user_data(parts, model, secrets, problems):
    """vendor-data and user-data, merged by key."""
    configs, scripts = [], []
    for listed in parts:
        config = None
        for raw, name in listed:
            reader = userdata.read if isinstance(raw, bytes) else userdata.classify
            found, script = problems.whole(reader, raw, name, problems) or (None, None)
            config = merge(config, found)
            if script is not None:
                scripts.append(script)
        configs.append(config)
    merged = merge(*configs)
    if merged is not None:
        problems.attempt(cloudconfig.apply, merged, model, secrets, problems)
    boot = [command for command in model.commands if command["when"] == "boot"]
    run = [command for command in model.commands if command["when"] == "run"]
    model.commands = (boot + scripts + run)[:schema.MAX_COMMANDS]


def _finish(model, secrets, problems):
    if model.ssh["enable"] is None:
        # Keys are given to be used.
        model.ssh["enable"] = bool(model.ssh_keys)
    for secret in (secrets.root_password, secrets.root_hash):
        if secret is not None and len(secret) >= MIN_SCRUBBED:
            _scrub(model, secret, problems)
            problems.found = [(severity, path.replace(secret, "***"), message) for severity, path, message in problems.found]
    for _, path, message in problems.found:
        model.note(path, message)


def _scrub(model, secret, problems):
    """The model goes to the boot bank: what repeats root's password does not."""
    kept = []
    for command in model.commands:
        words = command.get("argv") or [command["text"]]
        if any(secret in word for word in words):
            problems.note(command["origin"], "repeats root's password: not run")
        else:
            kept.append(command)
    model.commands = kept
    kept = []
    for entry in model.write_files:
        content = base64.b64decode(entry["content_b64"].encode("ascii"))
        if secret.encode("utf-8") in content or secret in entry["path"]:
            problems.note("write_files", "a file repeats root's password: not written")
        else:
            kept.append(entry)
    model.write_files = kept
    if model.phone_home is not None and secret in model.phone_home["url"]:
        problems.note("phone_home", "the URL repeats root's password: not used")
        model.phone_home = None
    kept = [option for option in model.kernel_options if secret not in option]
    if len(kept) != len(model.kernel_options):
        problems.note("kernel_options", "an option repeats root's password: not used")
    model.kernel_options = kept
