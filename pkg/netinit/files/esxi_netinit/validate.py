"""esxi-img metadata validate: what a host would not take of a folder of
metadata, with JSON paths or lines. Runs anywhere, not on the host.

Exit codes: 0 nothing wrong, 3 there are errors, 2 wrong use.
"""
import json
import os
import sys

if __name__ == "__main__":
    sys.dont_write_bytecode = True
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from esxi_netinit import loader, model  # noqa: E402
from esxi_netinit.errors import MetadataError  # noqa: E402

OK, USAGE, INVALID = 0, 2, 3


def validate(directory):
    """{"findings": [{"severity", "path", "message"}], "summary": {...} or None}.
    Nothing in it is a password or a license key."""
    try:
        found, secrets, problems = loader.load_reported(directory)
    except MetadataError as err:
        return {"findings": [_finding("error", err.path, err.message)], "summary": None}
    findings = [_finding(*entry) for entry in problems.found]
    findings += [_finding("note", "metadata", message) for message in _missing(found, secrets)]
    return {"findings": findings, "summary": _summary(found, secrets)}


def _finding(severity, path, message):
    return {"severity": severity, "path": path, "message": message}


def _missing(found, secrets):
    out = []
    if not secrets and found.ssh_keys and found.ssh["enable"]:
        out.append("there is no root password: unless the image carries its hash, it will be random, and under Secure Boot,"
                   " where SSH keys can't be set up, the installation stops")
    elif not secrets:
        out.append("there is no root password: unless the image carries its hash, the installation stops before a disk is"
                   " touched; set admin_pass, or chpasswd in user-data")
    if found.hostname is None:
        out.append("there is no host name")
    if found.management() is None:
        out.append("there is no network: the installer uses DHCP")
    return out


def _summary(found, secrets):
    network = found.management()
    password = "none"
    if secrets:
        password = "hash" if secrets.root_password is None else "plain text"
    return {
        "source": found.source, "hostname": found.fqdn or found.hostname, "root_password": password,
        "ssh_keys": len(found.ssh_keys), "links": len(found.links), "networks": len(found.networks),
        "management": None if network is None else {
            "id": network["id"], "method": network["method"], "address": network["address"],
            "prefix": network["prefix"], "gateway": model.gateway(network),
            "vlan": found.uplinks(network["link"])[1],
        },
        "commands": len(found.commands), "write_files": len(found.write_files),
    }


def text(result):
    """Lines: the findings, then what is left for the host to use."""
    out = ["%s: %s: %s" % (found["path"], found["severity"], found["message"]) for found in result["findings"]]
    out = out or ["nothing to mend"]
    if result["summary"] is None:
        return out
    seen = result["summary"]
    shown = (
        ("host name", seen["hostname"] or "none"), ("root password", seen["root_password"]), ("SSH keys", seen["ssh_keys"]),
        ("management", _management(seen["management"])), ("networks", "%d on %d links" % (seen["networks"], seen["links"])),
        ("commands", seen["commands"]), ("files", seen["write_files"]),
    )
    return out + [""] + ["%-14s %s" % pair for pair in shown]


def _management(network):
    if network is None:
        return "DHCP, for want of a network"
    out = network["id"] + ": " + network["method"]
    if network["address"] is not None:
        out += " %s/%d" % (network["address"], network["prefix"])
    if network["gateway"] is not None:
        out += ", gateway " + network["gateway"]
    return out + (", VLAN %d" % network["vlan"] if network["vlan"] else "")


def main(arguments):
    as_json = arguments[:-1] == ["--json"]
    if len(arguments) != 1 + as_json:
        sys.stderr.write("usage: validate.py [--json] DIR\n")
        return USAGE
    result = validate(arguments[-1])
    # ASCII whatever the locale is.
    if as_json:
        sys.stdout.write(json.dumps(result, indent=2, sort_keys=True) + "\n")
    else:
        for line in text(result):
            sys.stdout.write(line.encode("ascii", "backslashreplace").decode("ascii") + "\n")
    return INVALID if any(found["severity"] == "error" for found in result["findings"]) else OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
