"""What the gate found: one finding for each thing that it looked at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

OK, MISSING, ASK, OVERRIDDEN = "ok", "missing", "ask", "overridden"
# Missing, and let pass all the same: a way out of trouble waits for nothing.
WAIVED = "waived"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One answer of the gate.

    Args:
        check: what was looked at, in one word.
        state: ``ok``, ``missing``, ``ask`` (only a person can confirm it), ``overridden`` or
            ``waived``.
        text: what was found.
        fix: what to do about it.
        overridable: whether an emergency override lets it pass.
    """

    check: str
    state: str
    text: str
    fix: str = ""
    overridable: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)

    def sentence(self) -> str:
        """Return what is wrong and how to go on, in one line."""
        return f"{self.check}: {self.text}{'. ' + self.fix if self.fix else ''}"


def override(findings: Iterable[Finding], reason: str) -> list[Finding]:
    """Return *findings* with those let pass that an override may let pass, if there is a reason."""
    if not reason:
        return list(findings)
    return [
        Finding(check=each.check, state=OVERRIDDEN, text=each.text)
        if each.state == MISSING and each.overridable
        else each
        for each in findings
    ]


def waive(findings: Iterable[Finding]) -> list[Finding]:
    """Return *findings* with everything let pass that is missing."""
    return [
        Finding(check=each.check, state=WAIVED, text=each.text)
        if each.state in (MISSING, ASK)
        else each
        for each in findings
    ]
