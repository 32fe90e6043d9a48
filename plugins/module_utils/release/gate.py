"""What a run has to show before it begins: everything is looked at, then told in one list."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from . import checklist, copies, dependencies, notice, people, rehearsal, revision, ticket
from .calendar import Calendar
from .errors import SettingError
from .findings import ASK, MISSING, OK, OVERRIDDEN, WAIVED, Finding, override, waive


@dataclass(frozen=True, kw_only=True)
class Migration:
    """What the gate has to know of a migration document."""

    id: str
    digest: str
    downtime: str
    variables: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the gate says.

    Args:
        findings: everything that was looked at.
        change: what is recorded of the change.
    """

    findings: tuple[Finding, ...]
    change: dict[str, Any]

    def having(self, state: str) -> list[Finding]:
        """Return the findings in *state*."""
        return [each for each in self.findings if each.state == state]

    def as_dict(self) -> dict[str, Any]:
        """Return what a module returns."""
        return {
            "missing": [each.sentence() for each in self.having(MISSING)],
            "to_confirm": [
                {"id": each["id"], "text": each["text"]}
                for each in self.change["checklist"]
                if each["how"] == "not confirmed"
            ],
            "unconfirmed": [each.sentence() for each in self.having(ASK)],
            "overridden": self.change["overridden"],
            "findings": [each.as_dict() for each in self.findings],
            "lines": self.lines(),
            "change": self.change,
        }

    def lines(self) -> list[str]:
        """Return the findings as an aligned table, for people."""
        words = {
            OK: "ok",
            MISSING: "MISSING",
            ASK: "to confirm",
            OVERRIDDEN: "OVERRIDDEN",
            WAIVED: "waived",
        }
        width = max((len(each.check) for each in self.findings), default=0)
        return [
            f"{each.check:<{width}}  {words[each.state]:<10}  {each.text}" for each in self.findings
        ]


class Gate:
    """The gate of one inventory.

    Args:
        settings: what the inventory asks for; the options of the module ``change_gate_check``.
        migrations: that are to be applied; empty for a command that applies none.
        now: the time.
        verify: returns why a folder of evidence proves nothing, or doesn't show that the named
            modules succeeded.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        *,
        migrations: Sequence[Migration],
        now: datetime,
        verify: rehearsal.Verify,
    ) -> None:
        self._settings = settings
        self._migrations = migrations
        self._now = now
        self._verify = verify
        self._rehearsals: list[Finding] | None = None
        self._rehearsed: list[str] = []
        self._revision = revision.read(Path(settings["project"]))

    def check(self) -> Verdict:
        """Look at everything.

        Raises:
            SettingError: a setting, or a value from the command line, can't be understood.
        """
        if self._settings["way_out"]:
            return self._way_out()
        reason = self._override_reason()
        findings = [
            *self._ticket(),
            *self._people(),
            *self._code(),
            *self._window(self._calendar()),
            *self._rehearsal(),
            *self._name(),
        ]
        items, recorded = self._checklist()
        return self._verdict(override([*findings, *items], reason), reason, recorded)

    def _way_out(self) -> Verdict:
        """Record who does it, and let it pass: whatever is missing must not keep harm going.

        The database's name alone, where it was given wrongly, stops it: that is another inventory.
        """
        found: list[Finding] = []
        for look in (self._ticket_number, self._people, self._code):
            try:
                found += look()
            except SettingError as error:
                found.append(Finding(check="setting", state=MISSING, text=str(error)))
        reason = " ".join(str(self._settings["override"] or "").split())
        return self._verdict([*waive(found), *self._name()], reason, [])

    def _calendar(self) -> Calendar:
        s = self._settings
        return Calendar(
            windows=s["windows"], freezes=s["freezes"], timezone=str(s["timezone"] or "UTC")
        )

    def _checklist(self) -> tuple[list[Finding], list[dict[str, str]]]:
        s = self._settings
        return checklist.look(
            s["checklist"] if self._migrations else [],
            automatic={
                "backup": self._backup,
                "dependencies": self._dependencies,
                "maintenance": self._maintenance,
                "notice": self._notice,
                "rehearsal": self._staging,
            },
            passed=s["confirmed"],
            typed=s["typed"],
        )

    def _verdict(
        self, findings: Sequence[Finding], reason: str, recorded: Sequence[dict[str, str]]
    ) -> Verdict:
        s = self._settings
        return Verdict(
            findings=tuple(findings),
            change={
                "ticket": str(s["ticket"] or ""),
                "operator": str(s["operator"]),
                "login": str(s["login"] or ""),
                "approver": str(s["approver"] or ""),
                "reason": str(s["reason"] or ""),
                "revision": str(self._revision),
                "override": reason,
                "overridden": [each.sentence() for each in findings if each.state == OVERRIDDEN],
                "waived": [each.sentence() for each in findings if each.state == WAIVED],
                "window": next((f.text for f in findings if f.check == "window"), ""),
                "rehearsed": self._rehearsed,
                "checklist": list(recorded),
            },
        )

    def _override_reason(self) -> str:
        given = self._settings["override"]
        if given is None:
            return ""
        reason = " ".join(str(given).split())
        if len(reason.split()) < 2 or len(reason) < 10:
            raise SettingError(
                f"override is '{reason}', which is not a reason: say in a few words why this can't "
                "wait (they are announced, and kept in the evidence), quoted twice because of "
                "their spaces: -e \"override='WORDS'\""
            )
        return reason

    def _ticket_number(self) -> list[Finding]:
        """Look at the number alone."""
        s = self._settings
        number, pattern = str(s["ticket"] or ""), str(s["ticket_pattern"])
        if not s["ticket_required"] and not number:
            return []
        try:
            matches = re.match(pattern, number)
        except re.error as error:
            raise SettingError(
                f"change_gate_ticket_pattern '{pattern}' is wrong: {error}"
            ) from error
        odd = people.oddity(number)
        if odd or not matches:
            wrong = f"{number!r}: {odd}" if odd else f"'{number}' doesn't match {pattern}"
            fix = f"This inventory requires one: pass -e ticket=... that matches {pattern}"
            text = wrong if number else "there is none"
            return [Finding(check="ticket", state=MISSING, text=text, fix=fix)]
        return [Finding(check="ticket", state=OK, text=number)]

    def _ticket(self) -> list[Finding]:
        s = self._settings
        found = self._ticket_number()
        if not s["ticket_system"] or not found or found[0].state != OK:
            return found
        number = found[0].text
        problems = ticket.ask(s["ticket_system"], number)
        if problems:
            fix = "Have it approved there, or ask whoever runs the ticket system"
            text = f"{number}: {'; '.join(problems)}"
            return [Finding(check="ticket", state=MISSING, text=text, fix=fix)]
        return [Finding(check="ticket", state=OK, text=f"{number}, as the ticket system says")]

    def _people(self) -> list[Finding]:
        s = self._settings
        names = {"operator": str(s["operator"]), "approver": str(s["approver"] or "").strip()}
        odd = [
            Finding(
                check=what,
                state=MISSING,
                text=f"{name!r}: {problem}",
                fix=f"Pass -e {what}=NAME as the person is called",
            )
            for what, name in names.items()
            if (problem := people.oddity(name))
        ]
        if odd or not s["approver_required"]:
            return odd
        operator, approver = names["operator"], names["approver"]
        # Whoever is logged in runs it, whatever -e operator says.
        login = str(s["login"] or "").partition(",")[0]
        running = {operator: "the operator", login: "who runs it"}
        is_one = next((what for name, what in running.items() if people.same(name, approver)), "")
        if people.key(approver) and not is_one:
            return [Finding(check="approver", state=OK, text=f"{approver}, for {operator}")]
        return [
            Finding(
                check="approver",
                state=MISSING,
                text=f"'{approver}' is {is_one}" if people.key(approver) else "there is none",
                fix="This inventory requires a second person: pass -e approver=NAME, someone "
                f"other than the operator '{operator}'",
                overridable=True,
            )
        ]

    def _code(self) -> list[Finding]:
        s, code = self._settings, self._revision
        if not (s["clean_revision_required"] or s["tag_required"]):
            return []
        if not code.commit:
            text = f"{s['project']} is not a git checkout ({code.problem})"
            fix = "This inventory runs committed code only: clone the project"
            return [Finding(check="revision", state=MISSING, text=text, fix=fix)]
        found = []
        if code.dirt and s["clean_revision_required"]:
            text = f"{s['project']} has uncommitted changes"
            more = f" and {len(code.dirt) - 5} more" if len(code.dirt) > 5 else ""
            fix = f"Commit or remove {', '.join(code.dirt[:5])}{more}"
            found.append(Finding(check="revision", state=MISSING, text=text, fix=fix))
        pattern = str(s["tag_pattern"])
        if s["tag_required"] and not any(re.search(pattern, tag) for tag in code.tags):
            text = f"no tag that matches {pattern} points at {code.commit}"
            fix = f"Check out a released tag: git -C {s['project']} checkout TAG"
            found.append(Finding(check="revision", state=MISSING, text=text, fix=fix))
        return found or [Finding(check="revision", state=OK, text=str(code))]

    def _window(self, calendar: Calendar) -> list[Finding]:
        if not calendar.has_windows and not calendar.has_freezes:
            return []
        now = self._now
        window, freeze = calendar.window_at(now), calendar.freeze_at(now)
        if window and not freeze:
            closes = calendar.closes_at(now)
            until = f"open until {calendar.say(closes)}" if closes else "open, and nothing ahead"
            text = f"{window.name}: {until}" if window.name else until
            return [Finding(check="window", state=OK, text=text)]
        opening = calendar.next_opening(now)
        fix = "Wait for it, or in an emergency pass -e override=REASON"
        then = (
            f"The next window opens {calendar.say(opening.start)}"
            + (f" ({opening.name})" if opening.name else "")
            + f" and closes {calendar.say(opening.end)}. {fix}"
            if opening
            else "No window opens within the next 400 days: see change_gate_windows"
        )
        if freeze:
            name = f"'{freeze.name}' " if freeze.name else ""
            text = f"the freeze {name}holds until {calendar.say(freeze.end)}"
            return [Finding(check="window", state=MISSING, text=text, fix=then, overridable=True)]
        text = f"no change window is open ({calendar.say(now)})"
        return [Finding(check="window", state=MISSING, text=text, fix=then, overridable=True)]

    def _rehearsal(self) -> list[Finding]:
        if self._rehearsals is None:
            days = float(self._settings["rehearsal_days"])
            self._rehearsals = (
                [self._rehearsal_of(each, days) for each in self._migrations] if days > 0 else []
            )
        return self._rehearsals

    def _rehearsal_of(self, migration: Migration, days: float) -> Finding:
        s = self._settings
        what = f"{migration.id} (digest {migration.digest[:12]})"
        copy, problems = copies.newest(
            root=Path(s["evidence"]),
            digest=migration.digest,
            deployment=s["deployment"],
            database=s["database"],
            days=days,
            now=self._now,
            verify=self._verify,
            variables=migration.variables,
        )
        if copy is not None:
            self._rehearsed.append(copy.folder.name)
            where = f"a copy of the data of {copy.of:%Y-%m-%d %H:%M} UTC on {copy.ended:%Y-%m-%d}"
            repaired = ",".join(one.name for one in copy.repairs)
            after = f", after repair={repaired} as here" if repaired else ""
            text = f"{what} went up, down and up on {where}{after}"
            return Finding(check="rehearsal", state=OK, text=text)
        if s["rehearsal"] == "copy":
            none = f"no rehearsal on a copy of the data in the last {days:g} days"
            return self._not_rehearsed(migration, [none, *problems])
        found = rehearsal.find(
            root=Path(s["rehearsal_evidence"]),
            digest=migration.digest,
            days=days,
            now=self._now,
            verify=self._verify,
            variables=migration.variables,
            but_not=s["deployment"],
            deployments=s["rehearsal_deployments"],
            databases=s["rehearsal_databases"] or [s["database"]],
        )
        self._rehearsed += [turn.folder.name for turn in found.turns]
        if found.complete:
            last = found.turns[-1]
            text = f"{what} went up, down and up on {last.deployment} by {last.ended:%Y-%m-%d}"
            return Finding(check="rehearsal", state=OK, text=text)
        return self._not_rehearsed(migration, [*found.problems, *problems])

    def _not_rehearsed(self, migration: Migration, problems: Sequence[str]) -> Finding:
        return Finding(
            check="rehearsal",
            state=MISSING,
            text=f"{migration.id} (digest {migration.digest[:12]}): {'; '.join(problems)}",
            fix=f"{self._how_to_rehearse(migration.id)}; or in an emergency pass -e "
            "override=REASON",
            overridable=True,
        )

    def _how_to_rehearse(self, migration: str) -> str:
        here = f"Run rehearse.yml -e migration={migration} with this inventory"
        if self._settings["rehearsal"] == "copy":
            return here
        return (
            f"{here}; or on staging run migrate-{migration}.yml, rollback.yml -e "
            f"migration={migration}, and migrate-{migration}.yml, with the evidence in "
            f"{self._settings['rehearsal_evidence']}"
        )

    def _name(self) -> list[Finding]:
        """A wrong name is told with all else; a missing one is asked for after the plan."""
        s = self._settings
        if s["confirm"] is None or s["confirm"] == s["database"]:
            return []
        text = f"-e confirm={s['confirm']} isn't the database's name"
        fix = f"Did you mean another inventory? To go on, pass -e confirm={s['database']}"
        return [Finding(check="confirmation", state=MISSING, text=text, fix=fix)]

    # --- Items of the checklist that are looked up ----------------------------------------------

    def _backup(self) -> checklist.Answer:
        return True, "made and verified by this run, after the writers are stopped", "", False

    def _dependencies(self) -> checklist.Answer:
        wrong = dependencies.problems()
        if wrong:
            fix = "Run make install and use .venv/bin, or pip install what is named"
            return False, "; ".join(wrong), fix, False
        return True, "every library is installed, within its range", "", False

    def _maintenance(self) -> checklist.Answer:
        wanting = [each.id for each in self._migrations if each.downtime != "none"]
        if not wanting:
            return True, "not needed: the migration runs while the application lives", "", False
        if self._settings["maintenance_mode"] == "off":
            found = f"maintenance_mode is off, and {', '.join(wanting)} asks for it"
            return False, found, "Set maintenance_mode to auto", False
        return True, "entered, and proved, by this run", "", False

    def _staging(self) -> checklist.Answer:
        if float(self._settings["rehearsal_days"]) <= 0:
            return (
                False,
                "change_gate_rehearsal_days is 0",
                "Set it, or let a person confirm",
                False,
            )
        missing = [each for each in self._rehearsal() if each.state == MISSING]
        if missing:
            return False, "not rehearsed", "See 'rehearsal' above", True
        return True, "rehearsed, with sealed evidence", "", False

    def _notice(self) -> checklist.Answer:
        s = self._settings
        for migration in self._migrations:
            told, why = notice.find(
                root=Path(s["evidence"]),
                migration=migration.id,
                deployment=s["deployment"],
                now=self._now,
                hours=float(s["notice_hours"]),
                verify=lambda folder: self._verify(folder, ()),
                database=s["database"],
            )
            if told is None:
                fix = (
                    f"Run announce.yml -e migration={migration.id} -e event=notice -e at=..., and "
                    f"wait for {float(s['notice_hours']):g} h"
                )
                return False, why, fix, True
        return True, f"announced at least {float(s['notice_hours']):g} h ago", "", False
