"""Whether an archive is the one that another says it is based on.

The digest alone would do for what we wrote ourselves. But whoever writes an archive writes into it
what he likes, also the digest of one that has nothing to do with it.
"""

from __future__ import annotations

from .sidecar import About


def misfit(newer: About, base: About) -> str | None:
    """Return why *newer* isn't based on *base*, as a clause about that; None if it is."""
    expected = newer.base.digest if newer.base else None
    if base.digest != expected:
        return f"its digest is {base.digest}, and should be {expected}"
    if base.database != newer.database:
        return f"it is of the database '{base.database}', and not of '{newer.database}'"
    theirs, ours = base.server.get("set_name"), newer.server.get("set_name")
    if theirs != ours:
        return f"it is of the replica set {theirs or '(none)'}, and not of {ours or '(none)'}"
    then, now = _time(base), _time(newer)
    if not base.consistent or then is None or now is None:
        return "one of the two isn't of one point in time, or doesn't say which"
    if then > now:
        return f"it is newer, of {base.started}, and not from before {newer.started}"
    return None


def _time(about: About) -> tuple[int, int] | None:
    found = about.cluster_time
    return None if found is None else (found["t"], found["i"])
