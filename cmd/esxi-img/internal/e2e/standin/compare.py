"""What a scenario expects, against what came of it."""
import re

# What every machine is to be like, unless the scenario says otherwise: it runs,
# was installed once, can be managed from afar, and nobody asked it for what it
# does not know or cannot do.
ALWAYS = {
    "outcome": "running", "installs": 1, "unknown": [], "refused": [], "hazards": [], "outages": [], "routes_lost": [], "hangs": [],
    "canary": [], "disk_writes": [], "warnings": [], "password": "the password",
}


def differences(expect, result):
    expect = dict(expect)
    expect.pop("about", None)
    out = []
    for key, value in sorted(dict(ALWAYS, **expect).items()):
        if key == "reachable":
            continue
        diff(value, result.get(key), key, out)
    reachable = expect.get("reachable", result["outcome"] == "running")
    if isinstance(reachable, bool):
        if reachable != bool(result["reachable"]):
            out.append("reachable: %s, want %s" % (result["reachable"], reachable))
    else:
        diff(reachable, result["reachable"], "reachable", out)
    return out


def diff(want, got, path, out):
    """A dictionary names what it cares about; {"$": test} is a test."""
    if isinstance(want, dict):
        tests = [k for k in want if k.startswith("$")]
        for test in tests:
            if not TESTS[test](got, want[test]):
                out.append("%s: %s, want %s %s" % (path, short(got), test[1:], short(want[test])))
        if tests and len(tests) == len(want):
            return
        if not isinstance(got, dict):
            out.append("%s: %s, want %s" % (path, short(got), short(want)))
            return
        for key in sorted(set(want) - set(tests)):
            if key not in got:
                if want[key] != {"$absent": True}:
                    out.append("%s.%s is not there" % (path, key))
                continue
            diff(want[key], got[key], "%s.%s" % (path, key), out)
        return
    if isinstance(want, list) and isinstance(got, list) and len(want) == len(got) and any(isinstance(w, dict) for w in want):
        for i, (w, g) in enumerate(zip(want, got)):
            diff(w, g, "%s[%d]" % (path, i), out)
        return
    if want != got:
        out.append("%s: %s, want %s" % (path, short(got), short(want)))


def short(value):
    text = repr(value)
    return text if len(text) < 1500 else text[:1500] + "…"


def unordered(got, want):
    return sorted(map(repr, got or [])) == sorted(map(repr, want))


TESTS = {
    "$absent": lambda got, want: not want,
    "$keys": lambda got, want: sorted(got or {}) == sorted(want),
    "$contains": lambda got, want: all(w in (got or "") for w in ([want] if isinstance(want, str) else want)),
    "$lacks": lambda got, want: not any(w in (got or "") for w in ([want] if isinstance(want, str) else want)),
    "$matches": lambda got, want: re.search(want, got if isinstance(got, str) else repr(got), re.S) is not None,
    "$set": unordered,
    "$has": lambda got, want: set(map(repr, want)) <= set(map(repr, got or [])),
    "$some": lambda got, want: bool(got) == want,
    "$any": lambda got, want: True,
    "$all": lambda got, want: all(re.search(want, repr(g)) for g in got or []),
}
