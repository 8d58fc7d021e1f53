"""Carries out a plan: tries again, goes on after a failure, and puts the
network back where management does not work afterwards."""
from esxi_netinit import actions, esx, reach, restore
from esxi_netinit.stage import line_of
from esxi_netinit.step import NETWORK, STAGES

TRIES = 5
PAUSE_SECONDS = 5
MAX_SECONDS = 45 * 60  # then every step has one try
RESTORE_ROUNDS = 4
SHORT_SECONDS = 30  # of pings, where nothing was done to the uplinks


class Apply(object):
    """once remembers, over boots, which of the user's commands have begun and
    ended (see finish.Once)."""

    def __init__(self, host, plan, state, journal, once=None):
        self.host, self.plan, self.state, self.journal = host, plan, state, journal
        self.once = once
        self.failed = set()  # ids of steps without effect
        self.changed = set()  # ids of steps that have run
        self.stale = set()  # kinds of state that steps have changed since it was read
        self.alive = None  # whether management answers
        self.rolled_back = False  # management is as the installer made it
        self.end = host.clock() + MAX_SECONDS

    def run(self):
        for stage in STAGES:
            try:
                self.stage(stage, self.plan.stage(stage))
            except Exception as err:
                # A mistake of ours: the other stages have their turn.
                self.mistake(stage, err)

    def stage(self, stage, steps):
        if stage == "management":
            self.taken_back(self.management, steps)
        elif stage == "networks":
            self.taken_back(self.networks, steps)
        else:
            for step in steps:
                self.step(step)

    def taken_back(self, stage, steps):
        """A stage half-way through may have cut the host off."""
        before = self.state.copy()
        try:
            stage(steps)
        except Exception as err:
            self.mistake(stage.__name__, err)
            touched = [step for step in steps if step.id in self.changed]
            if touched and reach.now(before) is not None:
                self.roll_back(before, steps, "a stage broke off")

    def mistake(self, stage, err):
        # Not the text: it may quote the metadata.
        self.journal.problem(stage, "broke off: %s in %s" % (type(err).__name__, line_of(err)))

    # One step

    def step(self, step):
        """True if it is done, now or before."""
        if self.once is not None and step.action is not None and step.action[0] == "command":
            return self.command(step)
        return self.attempt(step)

    def command(self, step):
        """One of the user's own. What has begun on an earlier boot is not begun
        again: nobody knows what it has done, and it may be what ended that
        boot."""
        begun = self.once.state(step.id)
        if begun == "ended":
            self.journal.step(step, "already")
            return True
        if begun == "begun":
            self.failed.add(step.id)
            self.journal.step(step, "skipped", error="it was begun on an earlier boot, which ended before it did")
            return False
        self.once.note(step.id, "begun")
        ok = self.attempt(step)
        self.once.note(step.id, "ended")
        return ok

    def attempt(self, step):
        missing = [id for id in step.needs if id in self.failed]
        if missing:
            self.failed.add(step.id)
            self.journal.step(step, "skipped", error="%s has failed" % missing[0])
            return False
        if step.fresh:
            self.refresh(step)
        if self.already(step):
            self.journal.step(step, "already")
            return True
        start = self.host.clock()
        tries, ok, error = 0, False, ""
        most = step.tries or (TRIES if start < self.end else 1)
        while tries < most and not ok:
            if tries:
                self.host.sleep(PAUSE_SECONDS)
            tries += 1
            code, error = self.perform(step)
            # It may have worked, and only the answer was lost.
            ok = code == 0 or (step.done is not None and self.refresh(step) and step.already(self.state))
        if not ok:
            code, error = self.last_resort(step, code, error)
            ok = code == 0
        self.stale.add(kind(step))
        self.changed.add(step.id)
        if not ok:
            self.failed.add(step.id)
        else:
            self.failed.discard(step.id)
        self.journal.step(step, "done" if ok else "failed", tries, self.host.clock() - start, "" if ok else error)
        return ok

    def already(self, step):
        if not step.already(self.state):
            return False
        if step.again and kind(step) in self.stale:
            return self.refresh(step) and step.already(self.state)
        return True

    def verify(self, steps):
        """What later steps have undone is done once more. Reading the state
        takes its time, so it is read for all of them at once."""
        if "network" not in self.stale or not self.read():
            return
        for step in steps:
            if step.done is None or step.id in self.failed or step.already(self.state):
                continue
            self.step(step)
            if self.read() and not step.already(self.state):
                self.journal.event("%s: it was carried out, and the host does not show it" % step.description)

    def refresh(self, step):
        try:
            if kind(step) == "network":
                esx.read_network(self.host, self.state)
            else:
                esx.read_services(self.host, self.state)
        except esx.Unreadable:
            return False
        except Exception as err:
            return self.odd(err)
        self.stale.discard(kind(step))
        return True

    def perform(self, step):
        """(exit code, error). No failure of a step is one of ours."""
        try:
            if step.action is not None:
                code, text = actions.perform(self.host, step.action[0], step.action[1], step.seconds or esx.COMMAND_SECONDS)
            else:
                code, text = self.host.run(step.command, step.seconds or esx.COMMAND_SECONDS)
        except OSError as err:
            return 1, err.strerror or "input/output error"
        except Exception as err:
            # Its text may quote the metadata.
            return 1, type(err).__name__
        if code == 0:
            return 0, ""
        return code, "exit code %d%s" % (code, "" if step.sensitive or not text.strip() else ": " + text.strip())

    def last_resort(self, step, code, error):
        """localcli does without hostd, where that is away."""
        if step.command is None or step.command[0] != "esxcli" or not esx.AWAY.search(error):
            return code, error
        code, text = self.host.run(["localcli"] + step.command[1:])
        return code, "exit code %d: %s" % (code, text.strip())

    # Stages that can be taken back

    def management(self, steps):
        if not steps:
            return
        before = self.state.copy()
        old = reach.now(before)
        for step in steps:
            if not self.step(step) and step.critical and old is not None:
                self.rolled_back = True
                self.roll_back(before, steps, "%s failed" % step.description)
                return
        self.verify(steps)
        touched = [step.id for step in steps if step.id in self.changed]
        self.alive, text = reach.works(self.host, self.plan.check, reach.PING_SECONDS if touched else SHORT_SECONDS)
        self.journal.event("management: " + text)
        if not touched or self.alive is not False:
            return
        if old is None:
            # What was before has no address either.
            self.journal.problem("$.networks", text)
            return
        self.rolled_back = True
        self.roll_back(before, steps, text)

    def networks(self, steps):
        """Other networks may take the way to management away."""
        if not steps:
            return
        if not self.read():
            self.journal.event("the network can't be read")
        before = self.state.copy()
        check = reach.now(before)
        if self.alive is None and check is not None:
            self.alive = reach.works(self.host, check, SHORT_SECONDS)[0]
        for step in steps:
            self.step(step)
        # A lease on another network may have taken management's route over.
        self.verify(steps if self.rolled_back else self.plan.stage("management") + steps)
        touched = [step.id for step in steps if step.id in self.changed]
        if not touched or not self.alive or check is None:
            return
        alive, text = reach.works(self.host, check, SHORT_SECONDS)
        if alive and self.read() and not reach.routed(self.state, check):
            alive, text = False, "the default route by %s is gone" % check["gateway"]
        taker = reach.shadowed(self.state, check)
        if alive and taker is not None and taker != reach.shadowed(before, check):
            # Its own ping does not tell: that names the interface.
            alive, text = False, "%s is in management's network too, elsewhere" % taker
        if alive is False:
            self.roll_back(before, steps, "since the other networks were added, " + text)

    def roll_back(self, before, steps, reason):
        self.journal.event("%s: the network goes back to what it was" % reason)
        ids = [step.id for step in steps]
        back = False
        for _ in range(RESTORE_ROUNDS):
            if not self.read():
                self.host.sleep(PAUSE_SECONDS)
                continue
            commands = restore.commands(before, self.state)
            for command in commands:
                self.restore_command(command)
            back = self.read() and restore.same(before, self.state)
            if back:
                break
            self.host.sleep(PAUSE_SECONDS)
        done = [id for id in ids if id in self.changed]
        self.failed.update(done)
        self.failed.update(id for id in ids if not any(e["id"] == id for e in self.journal.data["steps"]))
        self.journal.mark(done, "rolled back")
        for step in steps:
            if step.id in self.failed and not any(e["id"] == step.id for e in self.journal.data["steps"]):
                self.journal.step(step, "skipped", error=reason)
        check = reach.now(self.state)
        self.alive, text = reach.works(self.host, check) if check is not None else (False, "management has no address")
        self.journal.event("the network is %s; %s" % ("as it was" if back else "NOT AS IT WAS", text))

    def restore_command(self, command):
        code, text = self.host.run(command)
        if code != 0 and esx.AWAY.search(text):
            self.host.sleep(PAUSE_SECONDS)
            code, text = self.host.run(command)
            if code != 0:
                code, text = self.host.run(("localcli",) + tuple(command[1:]))
        if code != 0:
            self.journal.event("%s: exit code %d" % (" ".join(command), code))

    def read(self):
        try:
            esx.read_network(self.host, self.state)
        except esx.Unreadable:
            return False
        except Exception as err:
            return self.odd(err)
        self.stale.discard("network")
        return True

    def odd(self, err):
        """What the host says is not understood: as if it had said nothing."""
        self.journal.event("the host's state can't be understood (%s in %s)" % (type(err).__name__, line_of(err)))
        return False


def kind(step):
    return "network" if step.stage in NETWORK else "services"
