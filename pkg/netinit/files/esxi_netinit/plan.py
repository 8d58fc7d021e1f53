"""From a model and a host's state to the list of steps. Nothing is run, read
or written here."""
from esxi_netinit import certificate, netplan
from esxi_netinit.esx import SETTING
from esxi_netinit.stage import line_of
from esxi_netinit.step import STAGES, Plan

COMMAND_SECONDS = 3600  # of the user's own; they may install something


def make(model, state):
    """The plan. Its order is that of the stages; a stage is complete before
    the next begins."""
    plan = Plan()
    for note in model.notes:
        plan.note(note["path"], note["message"])
    commands(plan, model, "boot")
    files(plan, model)
    name = host_name(plan, model)
    access(plan, model)
    network(plan, model, state)
    time(plan, model, state)
    log_host(plan, model)
    license_key(plan, model)
    if name:
        plan.add("certificates", "certificates", "certificates for %s" % name, ("/sbin/generate-certificates",),
                 done=lambda s: certificate.names(s.certificate, name), needs=["hostname"], tries=2)
    commands(plan, model, "run")
    order = sorted(range(len(plan.steps)), key=lambda i: (STAGES.index(plan.steps[i].stage), i))
    plan.steps = [plan.steps[i] for i in order]
    return plan


def network(plan, model, state):
    """All of it or nothing. The rest of the plan, SSH keys among it, does not
    depend on a mistake of ours in here."""
    if state.unread:
        if model.networks:
            plan.problem("$.networks", "the host's network can't be read: it stays as it is")
        return
    before = list(plan.steps)
    try:
        netplan.network_steps(model, state, plan)
    except Exception as err:
        # Not the text: it may quote the metadata.
        plan.steps, plan.check = before, None
        plan.problem("$.networks", "they could not be planned (%s in %s): the network stays as it is" % (type(err).__name__, line_of(err)))


def commands(plan, model, when):
    """The user's own. Each is run once and never tried again: nobody knows
    what it has done before it failed."""
    for i, command in enumerate(c for c in model.commands if c.get("when", "run") == when):
        where = command.get("origin") or ("bootcmd" if when == "boot" else "runcmd")
        plan.add(when, "%s:%d" % (when, i), "command %d of %s" % (i + 1, where), action=("command", command), tries=1, seconds=COMMAND_SECONDS, sensitive=True)


def files(plan, model):
    for i, entry in enumerate(model.write_files):
        plan.add("files", "file:%d" % i, "file %s" % entry["path"], action=("write-file", entry), tries=1)
    for i, pem in enumerate(model.ca_certs):
        plan.add("files", "ca:%d" % i, "CA certificate %d" % (i + 1), action=("ca-certificate", pem), tries=1)


def host_name(plan, model):
    """Returns the name that certificates are made for."""
    name = model.fqdn or model.hostname
    if not name:
        return None
    option = "--fqdn" if "." in name else "--host"
    key = "fqdn" if "." in name else "host"
    plan.add("name", "hostname", "host name %s" % name, ("esxcli", "system", "hostname", "set", "%s=%s" % (option, name)),
             done=lambda s: s.hostname[key].lower() == name.lower())
    return name


def access(plan, model):
    """Keys before SSH: it is of use only with them."""
    if model.ssh_keys:
        plan.add("access", "ssh-keys", "%d SSH keys of root" % len(model.ssh_keys), action=("ssh-keys", model.ssh_keys), tries=2)
    if model.ssh["enable"]:
        service(plan, "ssh", "SSH")
    if model.ssh["shell"]:
        service(plan, "esx_shell", "the ESXi shell")
    if plan.stage("access"):
        plan.add("access", "shell-warning", "no warning of SSH and shell", ("esxcli", "system", "settings", "advanced", "set", "--option", SETTING, "--int-value", 1),
                 done=lambda s: s.shell_warning_off)


def service(plan, name, text):
    """enable: at every boot; start: now. Both may be done again."""
    for verb in ("enable", "start"):
        plan.add("access", "%s:%s" % (verb, name), "%s %s" % (verb, text), ("vim-cmd", "hostsvc/%s_%s" % (verb, name)))


def time(plan, model, state):
    servers = list(model.ntp)
    if not servers:
        return
    same = lambda s: s.ntp is not None and s.ntp["servers"] == servers
    if state.old():
        # 6.x has no command for it.
        plan.add("services", "ntp", "time from %s" % ", ".join(servers), action=("ntp-conf", servers), done=same)
        firewall(plan, "ntpClient", "time")
        plan.add("services", "ntp-boot", "ntpd starts at boot", ("chkconfig", "ntpd", "on"), needs=["ntp"])
        plan.add("services", "ntp-on", "ntpd starts anew", ("/etc/init.d/ntpd", "restart"), needs=["ntp"])
        return
    command = ["esxcli", "system", "ntp", "set"]
    for server in servers:
        command += ["--server", server]
    plan.add("services", "ntp", "time from %s" % ", ".join(servers), command, done=same)
    plan.add("services", "ntp-on", "time service", ("esxcli", "system", "ntp", "set", "--enabled", "true"),
             done=lambda s: s.ntp is not None and s.ntp["enabled"] and same(s), needs=["ntp"])


def firewall(plan, name, text):
    plan.add("services", "firewall:" + name, "firewall open for %s" % text, ("esxcli", "network", "firewall", "ruleset", "set", "--enabled", "true", "--ruleset-id", name),
             done=lambda s: s.firewall.get(name) is True)


def log_host(plan, model):
    target = model.syslog
    if target is None:
        return
    same = lambda s: s.syslog == target
    plan.add("services", "syslog", "log host %s" % target, ("esxcli", "system", "syslog", "config", "set", "--loghost=" + target), done=same)
    plan.add("services", "syslog-reload", "logging starts anew", ("esxcli", "system", "syslog", "reload"), done=same, needs=["syslog"])
    firewall(plan, "syslog", "logging")


def license_key(plan, model):
    if model.license is not None:
        plan.add("services", "license", "license", ("vim-cmd", "vimsvc/license", "--set", model.license), sensitive=True)

