"""The plan of one collection of a ``set_field``, added up from groups of like documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..document.value_sources import Found, Key
from ..values import compare
from .base import Plan, amounts, problem

_SAMPLES = 5
# Of each kind of change, real documents before and after.
_PREVIEWS = 2
# There can be as many values as there are documents: beyond so many, they aren't kept.
MOST_PAIRS = 10_000
# A reason to be a candidate only where a policy says so.
_REPLACED = ("contradicting",)

_FIXES = {
    "unresolved": (
        "give these documents what leads to a {field}, name a default in the inventory "
        "(migration_variables), or choose to leave them alone"
    ),
    "contradicted": "correct {field} in these documents, or choose which of the two is right",
    "invalid": "correct {field} in these documents, or choose to replace it",
    "old_type": "unset or correct {field} in these documents",
    "unclear": (
        "correct what these documents could take their {field} from, or choose to leave them alone"
    ),
    "encrypted": "leave these documents out with `where`, or let the application set {field}",
}

_POLICIES = {
    "old_type": "a rollback is exact",
    "encrypted": "what a client encrypted is never overwritten",
}


class Tally:
    """Adds up the plan of one collection."""

    def __init__(self, plan: Plan, *, step: int, kind: str, name: str, field: str) -> None:
        self._plan = plan
        self._step = step
        self._kind = kind
        self._name = name
        self._field = field
        self._categories: dict[str, int] = dict.fromkeys(
            (*compare.EMPTY, *compare.INVALID, *_REPLACED), 0
        )
        self._resolved: dict[str, int] = {}
        self._problems: dict[tuple[str, str], dict[str, Any]] = {}
        self._outside = 0
        self.contradicting = 0  # hold what belongs to another
        self.excused = 0  # of these, the ones that are to be replaced and get nothing
        self._samples: list[Any] = []
        self.pairs: dict[bytes, tuple[Key, Any]] = {}  # what candidates get, by their key
        self.example: Any = compare.ABSENT  # a value that some candidate gets
        self.shown: dict[tuple[str, str], list[tuple[Any, Any]]] = {}  # some, by why and source

    @property
    def candidates(self) -> int:
        """Return how many documents are to be set."""
        return sum(self._categories.values())

    def category(self, why: str, count: int) -> None:
        """Count candidates by why they are one."""
        self._categories[why] += count

    def found(self, answer: Found, key: Key, count: int, sample: Any, *, why: str) -> None:
        """Count candidates for which there is a value, by the key of their source."""
        of_a_kind = self.shown.setdefault((why, answer.source), [])
        if len(of_a_kind) < _PREVIEWS:
            of_a_kind.append((sample, answer.value))
        if len(self.pairs) <= MOST_PAIRS:
            self.pairs[compare.hashable(list(key))] = (key, answer.value)
        self._resolved[answer.source] = self._resolved.get(answer.source, 0) + count
        self._outside += count if answer.outside else 0
        if self.example is compare.ABSENT:
            self.example = answer.value
        if len(self._samples) < _SAMPLES:
            self._samples.append(sample)

    def problem(
        self, policy: str, what: str, count: int, sample: Any, *, repair: str | None = None
    ) -> None:
        """Count candidates that fall under a policy, and that *repair* would settle."""
        entry = self._problems.setdefault(
            (policy, what), {"policy": policy, "what": what, "count": 0, "samples": []}
        )
        if repair:
            entry["repair"] = repair
        entry["count"] += count
        if len(entry["samples"]) < _SAMPLES:
            entry["samples"].append(sample)

    def settles(self, what: str, repair: str, count: int) -> None:
        """Note that *repair* would settle so many of the documents with the problem *what*."""
        for (_policy, said), entry in self._problems.items():
            if said == what and count:
                entry |= {"repair": repair, "settles": count}

    def has_problem(self, what: str) -> bool:
        """Return whether some candidates have the problem *what*."""
        return any(said == what for _policy, said in self._problems)

    def left(self, policies: Mapping[str, str]) -> list[Any]:
        """Return some of the documents that *policies* leave alone."""
        return [
            sample
            for item in self._problems.values()
            if policies[item["policy"]] != "fail"
            for sample in item["samples"]
        ]

    def refused(self, count: int, samples: list[Any]) -> None:
        """Note the candidates that the collection's validator refuses once they are written."""
        self._refused_by_server(
            f"the collection's validator refuses these documents with a {self._field}",
            count=count,
            samples=samples,
            policy="validator",
            fix="change the validator (collMod) or correct these documents",
        )

    def too_large(self, count: int, samples: list[Any]) -> None:
        """Note the candidates that have no room for the field."""
        self._refused_by_server(
            f"with a {self._field}, these documents would be larger than MongoDB's 16 MB",
            count=count,
            samples=samples,
            policy="document size",
            fix="make these documents smaller, or leave them out with `where`",
        )

    def inexact(self, count: int, samples: list[Any]) -> None:
        """Note the candidates that can't be put back by what a driver reads of them."""
        self._refused_by_server(
            f"their _id or {self._field} is stored as no driver writes it (an array with other "
            "keys than 0, 1, …, a field twice, flags or parts out of order), and can't be put back",
            count=count,
            samples=samples,
            policy="a rollback is exact",
            fix=f"write the {self._field} of these documents anew, or insert and remove them where "
            "it is their _id",
        )

    def _refused_by_server(
        self, what: str, *, count: int, samples: list[Any], policy: str, fix: str
    ) -> None:
        if count:
            self._plan.problems.append(
                problem(
                    step=self._step,
                    collection=self._name,
                    what=what,
                    count=count,
                    samples=samples,
                    policy=policy,
                    fix=fix,
                )
            )

    def finish(
        self,
        *,
        documents: int,
        real: str,
        policies: dict[str, str],
        preview: list[dict[str, Any]],
    ) -> None:
        """Add the collection's row, problems and warnings to the plan."""
        skipped = 0
        for item in self._problems.values():
            policy = item["choice"] = policies[item["policy"]]
            if policy == "fail":
                self._plan.problems.append(
                    problem(
                        step=self._step,
                        collection=self._name,
                        what=item["what"],
                        count=item["count"],
                        samples=item["samples"],
                        policy=_POLICIES.get(item["policy"], f"when_{item['policy']}: fail"),
                        fix=_FIXES[item["policy"]].format(field=self._field),
                        repair=item.get("repair"),
                    )
                    # Not all of them, where a number is given.
                    | ({"settles": item["settles"]} if "settles" in item else {})
                )
            else:
                skipped += item["count"]
                self._plan.warnings.append(
                    f"{self._name}: {item['count']:,} left alone by policy: {item['what']}"
                )
        if self._outside:
            self._plan.warnings.append(
                f"{self._name}: {self._outside:,} lie outside the dates of what they get"
            )
        self._plan.rows.append(
            {
                "step": self._step,
                "kind": self._kind,
                "collection": self._name,
                "real_name": real,
                "field": self._field,
                "documents": documents,
                "candidates": self.candidates,
                "to_change": sum(self._resolved.values()),
                "amounts": amounts(changes=sum(self._resolved.values())),
                "empty": {key: self._categories[key] for key in compare.EMPTY},
                "invalid": {key: self._categories[key] for key in compare.INVALID},
                "contradicting": self.contradicting,
                "excused": self.excused,
                "resolved": self._resolved,
                "unresolved": list(self._problems.values()),
                "outside": self._outside,
                "skipped": skipped,
                "samples": self._samples,
                "preview": preview,
            }
        )
