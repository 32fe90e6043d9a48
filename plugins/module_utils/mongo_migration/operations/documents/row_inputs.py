"""The inputs of an ``insert_for_each`` step: settings of each row, valid or replaced or refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from pymongo.errors import OperationFailure

from ...document.value_sources import Scope
from ...values import ejson
from ..base import Plan, problem
from . import timezones

_SAMPLES = 5
_UNKNOWN_TIMEZONE = 40485
# More distinct settings than the world has timezones are a sign of a wrong path.
_MOST_TIMEZONES = 2000
_TABLE = (
    "give the server the present table (mongod --timeZoneInfo, from "
    "https://downloads.mongodb.org/olson_tz_db/timezonedb-latest.zip), or update the tzdata here, "
    "whichever is older"
)
_NO_VALUE = ["missing", "null", "undefined"]


def _words(rule: dict[str, Any]) -> str:
    if rule["type"] == "integer" and "minimum" in rule and "maximum" in rule:
        return f"integer from {rule['minimum']} to {rule['maximum']}"
    return str(rule["type"])


class Inputs:
    """The declared inputs of one step.

    Args:
        options: of the step.
        scope: what is read.
        step: its index, for problems.
        stages: that give the rows.
        read: runs stages over the collection that the rows are of.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        scope: Scope,
        *,
        step: int,
        stages: list[dict[str, Any]],
        read: Callable[[list[dict[str, Any]]], Iterable[dict[str, Any]]],
    ) -> None:
        self.rules: dict[str, dict[str, Any]] = options.get("inputs", {})
        self._when_invalid: str = options.get("when_invalid", "fail")
        self._source: str = options["from"]
        self._scope = scope
        self._step = step
        self._stages = stages
        self._read = read
        self._timezones: dict[str, list[str]] = {}

    @property
    def zones(self) -> list[str]:
        """Return the variables that hold a timezone."""
        return [f"$${name}" for name, rule in self.rules.items() if rule["type"] == "timezone"]

    def expressions(self) -> dict[str, Any]:
        """Return an expression for each input."""
        return {name: self._expression(rule) for name, rule in self.rules.items()}

    def _expression(self, rule: dict[str, Any]) -> dict[str, Any]:
        """Return an expression: the input where it is valid, else its default."""
        value = rule["value"]
        good = value
        if rule["type"] == "integer":
            good = {"$toInt": value}
        return {"$cond": [self._is_valid(rule), good, {"$literal": rule["default"]}]}

    def _is_valid(self, rule: dict[str, Any]) -> dict[str, Any]:
        value = rule["value"]
        if rule["type"] == "integer":
            # Nested, because the operands of $and may be evaluated in any order.
            inside: list[Any] = [{"$eq": [value, {"$trunc": value}]}]
            if "minimum" in rule:
                inside.append({"$gte": [value, rule["minimum"]]})
            if "maximum" in rule:
                inside.append({"$lte": [value, rule["maximum"]]})
            return {"$cond": [{"$isNumber": value}, {"$and": inside}, False]}
        if rule["type"] == "timezone":
            return {"$in": [value, {"$literal": self._known_timezones(value)}]}
        return {"$and": [{"$eq": [{"$type": value}, "string"]}, {"$ne": [value, ""]}]}

    def _known_timezones(self, value: Any) -> list[str]:
        """Return the timezones that occur and that the server knows: it is the one to compute."""
        path = ejson.canonical(value)
        if path not in self._timezones:
            rows = self._read(
                [
                    *self._stages,
                    {"$group": {"_id": value}},
                    {"$match": {"_id": {"$type": "string"}}},
                    {"$limit": _MOST_TIMEZONES},
                ]
            )
            names = [row["_id"] for row in rows]
            # Those that the server knows, too, as a rule; and then those that rather are misspelt.
            likely = [name for name in names if timezones.zone(name) is not None]
            others = [name for name in names if timezones.zone(name) is None]
            self._timezones[path] = [*self._server_knows(likely), *self._server_knows(others)]
        return self._timezones[path]

    def _server_knows(self, names: list[str]) -> list[str]:
        """Return those of *names* that the server knows: all at once, or else each half of them."""
        if not names:
            return []
        try:
            # Constants here, so that the server checks them though no row is read.
            parts = [
                {"$dateToParts": {"date": self._scope.now, "timezone": {"$literal": name}}}
                for name in names
            ]
            list(self._read([{"$limit": 1}, {"$project": {"_id": {"$size": [parts]}}}]))
        except OperationFailure as error:
            if error.code != _UNKNOWN_TIMEZONE:
                raise
            middle = len(names) // 2
            halves = (names[:middle], names[middle:]) if middle else ()
            return [name for half in halves for name in self._server_knows(half)]
        return names

    def plan_zones(self, plan: Plan, instants: dict[str, set[datetime]]) -> None:
        """Find timezones in which the server computes by a table that is out of date."""
        found = timezones.differences(
            self._scope.collections.database, instants, comment=self._scope.comment
        )
        for name, wrong in found.items():
            instant, minutes = wrong[0]
            plan.problems.append(
                problem(
                    step=self._step,
                    collection=self._source,
                    what=f"the server's table of timezones is out of date: in {name} it is "
                    f"{minutes:+} minutes off at {ejson.short(instant)}",
                    count=len(wrong),
                    samples=[at for at, _minutes in wrong[:_SAMPLES]],
                    policy="timezones",
                    fix=_TABLE,
                )
            )

    def plan(self, plan: Plan) -> None:
        """Find invalid inputs: by policy a problem each, or replaced by the default."""
        for name, rule in self.rules.items():
            value = rule["value"]
            rows = list(
                self._read(
                    [
                        *self._stages,
                        {
                            "$match": {
                                "$expr": {
                                    "$and": [
                                        {"$not": [{"$in": [{"$type": value}, _NO_VALUE]}]},
                                        {"$not": [self._is_valid(rule)]},
                                    ]
                                }
                            }
                        },
                        {
                            "$group": {
                                "_id": value,
                                "count": {"$sum": 1},
                                "sample": {"$first": "$_id"},
                            }
                        },
                    ]
                )
            )
            for row in rows:
                if rule["type"] == "timezone" and is_zone(row["_id"]):
                    plan.problems.append(self._unknown_zone(row))
                    continue
                what = f"{name} is {ejson.short(row['_id'])}, which is not a valid {_words(rule)}"
                if self._when_invalid == "default":
                    plan.warnings.append(
                        f"{self._source}: {row['count']:,} with the default "
                        f"{ejson.short(rule['default'])}, because {what}"
                    )
                    continue
                plan.problems.append(
                    problem(
                        step=self._step,
                        collection=self._source,
                        what=what,
                        count=row["count"],
                        samples=[row["sample"]],
                        policy="when_invalid: fail",
                        fix=f"correct it, or choose the default ({ejson.short(rule['default'])})",
                    )
                )

    def _unknown_zone(self, row: dict[str, Any]) -> dict[str, Any]:
        return problem(
            step=self._step,
            collection=self._source,
            what=f"{ejson.short(row['_id'])} is a valid timezone, but the server's table doesn't "
            "know it",
            count=row["count"],
            samples=[row["sample"]],
            policy="timezones",
            fix=_TABLE,
        )


def is_zone(name: Any) -> bool:
    """Return whether Python knows *name* as a timezone."""
    return isinstance(name, str) and timezones.zone(name) is not None
