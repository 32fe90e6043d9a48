"""From the names in documents to the collections that are really there."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pymongo.collection import Collection
from pymongo.database import Database

from ..errors import DefinitionError
from ..support import listing

STATE = "_migrations"
JOURNAL = "_migrations_journal"
PROBE = "_migrations_probe"
EMPTIED = "_migrations_emptied"
# In a database that we made for a while: that it is ours to drop, and who uses it.
SCRATCH = "_migrations_scratch"
OURS = frozenset({STATE, JOURNAL, PROBE, EMPTIED, SCRATCH})
# What a migration took out of the application's sight, and a rollback brings back.
ASIDE = "_migrations_aside."

_OURS = "'{}' is where migrations keep their own records; none can work on it"
# Stages that name another collection, and the key that does.
_NAMING_STAGES = {"$lookup": "from", "$graphLookup": "from", "$unionWith": "coll"}


def is_repair(migration: str) -> bool:
    """Return whether *migration* is the id of a repair."""
    return migration.startswith("R")


def is_ours(real: str) -> bool:
    """Return whether the collection *real* is one of those that we keep for ourselves."""
    return real in OURS or real.startswith(ASIDE)


def aside(run: str, real: str, what: str = "") -> str:
    """Return where *run* puts the collection *real* out of the application's sight.

    Args:
        run: the run's id.
        real: the collection's name.
        what: tells several apart that come from one name.
    """
    return f"{ASIDE}{run}.{f'{what}.' if what else ''}{real}"


class Collections:
    """Resolves names. A name that doesn't exist is an error, never a silent zero."""

    def __init__(
        self, database: Database[dict[str, Any]], mapping: Mapping[str, str | None]
    ) -> None:
        self.database = database
        self._mapping = dict(mapping)
        self._existing = {
            item["name"]: item
            for item in listing.collections(database)
            if not item["name"].startswith("system.")
        }
        self._coming: set[str] = set()
        self._going: set[str] = set()

    def foresee(self, coming: Iterable[str], going: Iterable[str]) -> None:
        """Take names for right that steps of the migration bring into being, or do away with."""
        self._coming |= set(coming)
        self._going |= set(going)

    def goes(self, name: str) -> bool:
        """Return whether a step does away with *name*, so that it may be gone already."""
        return name in self._going

    def ordinary(self) -> list[str]:
        """Return the real names of all collections that have documents of the application."""
        return [
            name
            for name, item in self._existing.items()
            if item.get("type", "collection") == "collection" and name not in OURS
        ]

    def absent(self, name: str) -> bool:
        """Return whether the inventory says that this deployment has no such collection."""
        return name in self._mapping and self._mapping[name] is None

    def real_name(self, name: str) -> str:
        """Return the real name of *name*, whether or not the collection exists."""
        return self._mapping.get(name) or name

    def exists(self, name: str) -> bool:
        """Return whether *name* has a collection in the database."""
        return self.real_name(name) in self._existing

    def options(self, name: str) -> dict[str, Any]:
        """Return what listCollections says of *name*, or an empty dict."""
        return dict(self._existing.get(self.real_name(name), {}))

    def get(self, name: str, *, write: bool = False) -> Collection[dict[str, Any]]:
        """Return the collection that *name* stands for, also to *write* to its documents.

        Raises:
            DefinitionError: there is no such collection, and the message suggests the near one; or
                it is of a kind that no migration can work on.
        """
        real = self.real_name(name)
        if is_ours(real):
            raise DefinitionError(_OURS.format(real), collection=name)
        if real not in self._existing and name in self._coming | self._going:
            return self.database[real]
        if real not in self._existing:
            raise DefinitionError(self._missing(name, real), collection=name)
        kind = self._existing[real].get("type", "collection")
        if kind != "collection":
            raise DefinitionError(
                f"'{real}' is a {kind}; a migration can only work on ordinary collections",
                collection=name,
            )
        if write and self._existing[real].get("options", {}).get("capped"):
            raise DefinitionError(
                f"'{real}' is a capped collection; MongoDB leaves those out of transactions and "
                "drops their oldest documents, so that no rollback would be exact. Leave it out, "
                "or copy its documents into an ordinary collection first",
                collection=name,
            )
        return self.database[real]

    def target(self, name: str, *, write: bool = False) -> Collection[dict[str, Any]]:
        """Return the collection that *name* stands for, which an insert may create.

        Raises:
            DefinitionError: it doesn't exist but one with a near name does, or it is ours.
        """
        real = self.real_name(name)
        if is_ours(real):
            raise DefinitionError(_OURS.format(real), collection=name)
        if real not in self._existing and name not in self._coming and self._near(real):
            raise DefinitionError(self._missing(name, real), collection=name)
        return self.get(name, write=write) if real in self._existing else self.database[real]

    def map_pipeline(self, pipeline: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return *pipeline* with the collections that its stages name replaced by real ones."""
        return [self._map_stage(stage) for stage in pipeline]

    def _map_stage(self, stage: Mapping[str, Any]) -> dict[str, Any]:
        mapped: dict[str, Any] = {}
        for operator, body in stage.items():
            mapped[operator] = body
            if operator == "$facet":
                mapped[operator] = {key: self.map_pipeline(value) for key, value in body.items()}
            elif operator == "$unionWith" and isinstance(body, str):
                mapped[operator] = self._real_or_fail(body)
            elif operator in _NAMING_STAGES and isinstance(body, Mapping):
                key = _NAMING_STAGES[operator]
                changed = dict(body)
                if key in changed:
                    changed[key] = self._real_or_fail(changed[key])
                if "pipeline" in changed:
                    changed["pipeline"] = self.map_pipeline(changed["pipeline"])
                mapped[operator] = changed
        return mapped

    def _real_or_fail(self, name: str) -> str:
        # A $lookup from a collection that a step of this very migration creates is right:
        # only a near name of another one is a mistake.
        return self.target(name).name

    def _near(self, real: str) -> str | None:
        lowered = {name.lower(): name for name in self._existing if not is_ours(name)}
        near = difflib.get_close_matches(real.lower(), lowered, n=1, cutoff=0.8)
        return lowered[near[0]] if near else None

    def _missing(self, name: str, real: str) -> str:
        near = self._near(real)
        if near:
            return (
                f"Collection '{real}' doesn't exist in database '{self.database.name}', but "
                f"'{near}' does. Map it in the inventory: mongo_collections: {{{name}: {near}}}"
            )
        return (
            f"Collection '{real}' doesn't exist in database '{self.database.name}' and none has a "
            f"near name. If this deployment never had it, say so in the inventory: "
            f"mongo_collections: {{{name}: null}}"
        )


def fitting(pattern: str, place: str) -> re.Pattern[str]:
    """Return the regular expression *pattern*, which tells collections by their names.

    Raises:
        DefinitionError: it is none.
    """
    try:
        return re.compile(pattern)
    except re.error as error:
        raise DefinitionError(
            f"{place}: {pattern!r} is not a regular expression: {error}"
        ) from error
