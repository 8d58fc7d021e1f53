"""The part of a host's metadata that is used after the installation.

The model is made of what is allowed, never of what is left after removing
secrets: metadata repeats passwords in several files and versions.
"""
import json
import os

MAX_FILE = 1 << 20  # bytes; real ones have a few KiB
MAX_KEYS = 64
MAX_KEY = 16 << 10  # characters; an RSA key of 16384 bits has 2,800
MAX_NAME = 255  # characters, RFC 1035
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = "0123456789"
KEY_KINDS = ("ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-")


class Refused(Exception):
    """A file that can't be used. The message never quotes its content."""


def load(path):
    """Reads a JSON object; {} where there is no such file."""
    try:
        with open(path, "rb") as f:
            raw = f.read(MAX_FILE + 1)
    except FileNotFoundError:
        return {}
    except OSError as err:
        raise Refused("%s: %s" % (path, err.strerror))
    if len(raw) > MAX_FILE:
        raise Refused("%s has more than %d bytes" % (path, MAX_FILE))
    if not raw.strip():
        return {}
    try:
        data = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Refused("%s is not JSON" % path)
    if not isinstance(data, dict):
        raise Refused("%s is not a JSON object" % path)
    return data


def model(config_drive):
    """The model and a list of what was left out of it, from a config drive's
    folder."""
    data = load(os.path.join(config_drive, "openstack", "latest", "meta_data.json"))
    notes = []
    return {
        "version": 1,
        "hostname": host_name(data, notes),
        "ssh_keys": ssh_keys(data, notes),
    }, notes


def host_name(data, notes):
    for field in ("hostname", "name"):
        value = data.get(field)
        if value in (None, ""):
            continue
        if is_host_name(value):
            return value.rstrip(".")
        notes.append("%s is not a host name" % field)
    return ""


def is_host_name(value):
    if not isinstance(value, str) or len(value) > MAX_NAME:
        return False
    for label in value[:-1].split(".") if value.endswith(".") else value.split("."):
        if not 1 <= len(label) <= 63 or label[0] == "-" or label[-1] == "-":
            return False
        if any(char not in LETTERS + DIGITS + "-" for char in label):
            return False
    return True


def ssh_keys(data, notes):
    """The public keys of public_keys and keys, each once, in a fixed order."""
    found = []
    public_keys = data.get("public_keys")
    if isinstance(public_keys, dict):
        found += [public_keys[name] for name in sorted(public_keys)]
    elif public_keys is not None:
        notes.append("public_keys is not an object")
    keys = data.get("keys")
    if isinstance(keys, list):
        for key in keys:
            if isinstance(key, dict) and key.get("type", "ssh") == "ssh":
                found.append(key.get("data"))
    elif keys is not None:
        notes.append("keys is not a list")

    out = []
    for text in found:
        # One entry may hold several lines.
        for line in text.splitlines() if isinstance(text, str) else [None]:
            if line is not None and not line.strip():
                continue
            key = ssh_key(line)
            if key is None:
                notes.append("a public key is not one")
            elif len(out) == MAX_KEYS:
                notes.append("more than %d public keys" % MAX_KEYS)
                return out
            elif key not in out:
                out.append(key)
    return out


def ssh_key(line):
    """A line for authorized_keys, None for what is none."""
    if not isinstance(line, str) or len(line) > MAX_KEY:
        return None
    line = line.strip()
    if any(not 0x20 <= ord(char) < 0x7F for char in line):
        return None
    words = line.split(None, 2)
    if len(words) < 2 or not words[0].startswith(KEY_KINDS):
        return None
    if any(char not in LETTERS + DIGITS + "+/=" for char in words[1]):
        return None
    return line
