"""A step of the first boot, and the list of them."""

STAGES = ("boot", "files", "name", "access", "management", "tidy", "networks", "dns", "services", "certificates", "run")

NETWORK = ("management", "tidy", "networks", "dns")


class Step(object):
    """One thing to do.

    id          unique, the same in every run
    command     the argv, or None for an action
    action      (name, argument): what no command does, see actions.py
    done        a function of a State: whether it is so already; None: unknown
    needs       ids of steps without which this one makes no sense
    critical    a failure rolls its stage back
    fresh       done is asked of a newly read state, since earlier steps of the
                stage change it by themselves
    again       an earlier step undoes it: it is done once more though it is so
                when the plan is made
    sensitive   neither command nor output is shown
    tries       0: as often as usual
    """

    def __init__(self, stage, id, description, command=None, action=None, done=None, needs=(), critical=False,
                 fresh=False, sensitive=False, tries=0, seconds=0):
        assert stage in STAGES and (command is None) != (action is None)
        self.stage = stage
        self.id = id
        self.description = description
        self.command = None if command is None else [str(word) for word in command]
        self.action = action
        self.done = done
        self.needs = list(needs)
        self.critical = critical
        self.fresh = fresh
        self.again = False
        self.sensitive = sensitive
        self.tries = tries
        self.seconds = seconds

    def already(self, state):
        return self.done is not None and bool(self.done(state))

    def pending(self, state):
        """Whether a plan made of this state comes to run it."""
        return self.again or not self.already(state)

    def shown(self):
        """The command as a person would type it, without secrets."""
        if self.command is None:
            return "(%s)" % self.action[0]
        if self.sensitive:
            return " ".join(self.command[:2]) + " ***"
        return " ".join(quoted(word) for word in self.command)

    def to_dict(self, state=None):
        out = {"id": self.id, "stage": self.stage, "description": self.description, "critical": self.critical, "needs": self.needs}
        out["command"] = None if self.command is None or self.sensitive else self.command
        if self.action is not None:
            out["action"] = self.action[0]
        if state is not None:
            out["done"] = not self.pending(state)
        return out


def quoted(word):
    plain = word and all(char.isalnum() or char in "-_./=:,@%+" for char in word)
    return word if plain else "'" + word.replace("'", "'\"'\"'") + "'"


class Plan(object):
    """steps in their order; problems: [{path, message}] of what the metadata
    asks for and can't be done here; notes: the same of what is done in
    another way, or left out without harm."""

    def __init__(self):
        self.steps = []
        self.problems = []
        self.notes = []
        self.check = None  # how management is tried out: {vmk, family, gateway, dhcp}

    def add(self, *args, **kwargs):
        step = Step(*args, **kwargs)
        if any(step.id == other.id for other in self.steps):
            return None
        self.steps.append(step)
        return step

    def has(self, id):
        return any(step.id == id for step in self.steps)

    def problem(self, path, message):
        self._say(self.problems, path, message)

    def note(self, path, message):
        self._say(self.notes, path, message)

    @staticmethod
    def _say(where, path, message):
        entry = {"path": path, "message": message}
        if entry not in where:
            where.append(entry)

    def stage(self, name):
        return [step for step in self.steps if step.stage == name]

    def to_dict(self, state=None):
        return {
            "version": 1, "steps": [step.to_dict(state) for step in self.steps], "problems": self.problems, "notes": self.notes,
            "management": self.check,
        }
