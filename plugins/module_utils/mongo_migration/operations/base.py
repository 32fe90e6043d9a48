"""What every operation can do, and what a plan of one looks like."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pymongo.collection import Collection

from ..document import reads
from ..document.collections import Collections
from ..document.definition import Step
from ..document.value_sources import Scope
from ..ledger.batches import Writer
from ..values.abridged import abridge
from .bodies import Body, of_step

# A row of a plan.
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Changed:
    """Documents that a step writes, or complains of."""

    selector: dict[str, Any]
    field: str | None


@dataclass(kw_only=True)
class Plan:
    """What a step would do.

    ``rows`` hold one dict per collection: ``step``, ``kind``, ``collection``, ``real_name``,
    ``documents``, ``candidates``, ``amounts`` (see :func:`amounts`) and what the kind itself adds.
    ``problems`` are data for which no stated policy says what to do: one is enough to refuse.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    problems: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    # What is needed to foresee the postconditions, and no part of the plan that people read.
    changed: dict[str, list[Changed]] = field(default_factory=dict)  # by the real name
    settled: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def change(self, collection: str, selector: dict[str, Any], field: str | None = None) -> None:
        """Note that in *collection* documents of *selector* are written, or complained of.

        Args:
            collection: the real name.
            selector: a filter.
            field: the one that changes; None where all of a document may.
        """
        self.changed.setdefault(collection, []).append(Changed(selector=selector, field=field))

    def settle(self, name: str, documents: list[dict[str, Any]]) -> None:
        """Note what *name* (the document's) also holds once the problems are settled."""
        self.settled.setdefault(name, []).extend(documents)


@dataclass(kw_only=True)
class Check:
    """The result of one check."""

    name: str
    passed: bool
    expected: Any
    observed: Any
    examined: int
    detail: str = ""
    severity: str = "error"
    samples: list[Any] = field(default_factory=list)
    #: What a policy left as it is, as of `left_alone.item`.
    left_alone: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the check as plain values; ``status`` is passed, failed or warning."""
        bad = "warning" if self.severity == "warning" else "failed"
        return {
            "name": self.name,
            "status": "passed" if self.passed else bad,
            "expected": abridge(self.expected),
            "observed": abridge(self.observed),
            "examined": self.examined,
            "detail": self.detail,
            "samples": [abridge(sample) for sample in self.samples],
        }


@dataclass(frozen=True, kw_only=True)
class Need:
    """What the plan of a step rests on in a collection.

    Args:
        collection: its real name.
        fields: the top-level ones that are read; None: any.
        documents: whether it matters which documents there are.
    """

    collection: str
    fields: frozenset[str] | None
    documents: bool = True

    def reads(self, field: str) -> bool:
        """Return whether *field* matters."""
        return self.fields is None or field in self.fields


@dataclass(frozen=True, kw_only=True)
class Touched:
    """A collection that a step writes to, and how: for the proof that nothing else changed."""

    collection: str  # the real name
    field: str | None = None  # only this field of documents
    any_field: bool = False  # any fields of documents
    inserts: bool = False  # whole documents
    removes: bool = False  # whole documents
    index: str | None = None  # the index of this name
    # Told of a step alone: an entry that doesn't say so is of that step all the same.
    # The fields of that index, where it is a unique one to be built.
    unique: tuple[str, ...] = dataclasses.field(default=(), compare=False)
    # That index is dropped, hidden or exchanged.
    unusable: bool = dataclasses.field(default=False, compare=False)
    command: bool = False  # whatever a foreign program does
    nothing: bool = False  # an entry of what was never begun
    other_ids: bool = False  # the documents stay, under other ids
    places: bool = False  # fields may change their place in the document, too
    whole: bool = False  # the collection itself: its name, its options, whether it is there
    into: str | None = None  # where documents, or the collection itself, go
    also: tuple[str, ...] = ()  # fields of others that follow, as collection:field

    @property
    def label(self) -> str:
        """What of a document is written, for people; nothing, where that isn't told."""
        return self.field or ("document" if self.any_field else "")


class Operation(ABC):
    """One kind of step, and one step of that kind. Everybody else loops over the registry.

    An operation is built on a database that has the collections which it names. What is asked of it
    without that, of a finished run for example, it answers from the step and the names alone.
    """

    KIND: ClassVar[str]
    #: Whether later plans know which documents it takes away; see ``Scope.leave``.
    TELLS_LEAVING: ClassVar[bool] = False
    #: What its expressions may name beside its `let`; None: it has none, or says so in `bodies`.
    VARIABLES: ClassVar[tuple[str, ...] | None] = None
    #: What a position tells one target from another by: its place in their list, or its name.
    TARGET: ClassVar[type] = int

    def __init__(self, step: Step, scope: Scope) -> None:
        """Bind *step* to a database.

        Raises (those of the kinds do):
            DefinitionError: it names a collection that doesn't exist, or can't be worked on.
        """
        self._step = step
        self._scope = scope

    @property
    def index(self) -> int:
        """The number of the step in its document."""
        return self._step.index

    @staticmethod
    @abstractmethod
    def names(options: Mapping[str, Any]) -> set[str]:
        """Return the collections that a step with *options* names, as the document calls them."""

    @staticmethod
    @abstractmethod
    def reach(step: Step, names: Collections) -> list[Touched]:
        """Return all that *step* may write to, whether or not it exists (any more)."""

    @staticmethod
    def creates(options: Mapping[str, Any]) -> set[str]:
        """Return the collections, by the document's names, that a step may bring into being."""
        into = options.get("into")
        return {into} if isinstance(into, str) else set()

    @staticmethod
    def consumes(options: Mapping[str, Any]) -> set[str]:
        """Return the collections, by the document's names, that may be gone after the step."""
        del options
        return set()

    @staticmethod
    def runs_live(options: Mapping[str, Any]) -> bool:
        """Return whether a step with *options* can be done beside writers, and repeated.

        Repeated, it does what is still to do and nothing twice.
        """
        del options
        return False

    @staticmethod
    def indexes(options: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the indexes that a step builds: the place among *options*, the specification."""
        del options
        yield from ()

    @classmethod
    def bodies(cls, step: Step) -> Iterator[Body]:
        """Yield what the server has to understand of *step*: filters, pipelines, expressions."""
        if cls.VARIABLES is not None:
            yield from of_step(step, cls.VARIABLES)

    @staticmethod
    @abstractmethod
    def lines(rows: Sequence[Row]) -> list[str]:
        """Return rows of a plan, all of this kind, as aligned text for people."""

    @staticmethod
    @abstractmethod
    def diff(row: Row) -> tuple[list[str], list[str]]:
        """Return a row of a plan as lines before and after, which differ where something would."""

    @abstractmethod
    def plan(self) -> Plan:
        """Say what would be done; read only."""

    def row(
        self, name: str, real: str, *, documents: int, candidates: int = 0, **more: Any
    ) -> dict[str, Any]:
        """Return a row of the plan; see :class:`Plan`.

        Args:
            name: the document's name of the collection.
            real: its real name.
            documents: how many it holds.
            candidates: how many of them the step looks at.
            more: ``amounts``, and what the kind itself adds.
        """
        return {
            "step": self._step.index,
            "kind": self.KIND,
            "collection": name,
            "real_name": real,
            "documents": documents,
            "candidates": candidates,
            **more,
        }

    def needs(self) -> Iterator[Need]:
        """Yield what the plan rests on, where an earlier step may write it."""
        yield from ()

    def needs_of_sources(self, *trees: Any) -> Iterator[Need]:
        """Yield what values that are looked up rest on, in other collections."""
        names = self._scope.collections
        for name, fields in dict.fromkeys(reads.lookups(list(trees))):
            yield Need(collection=names.real_name(name), fields=fields)

    def touches(self) -> list[Touched]:
        """Return what is written to in this database."""
        return self.reach(self._step, self._scope.collections)

    @abstractmethod
    def apply(self, writer: Writer, position: dict[str, Any]) -> None:
        """Do it, batch by batch, from *position* on."""

    @abstractmethod
    def check(self) -> Iterator[Check]:
        """Check that it was done, by reading the data anew."""

    def left_behind(self, entry: Mapping[str, Any]) -> list[Any]:
        """Return the ids of documents that still refer to what *entry* took away."""
        del entry
        return []

    def unexplained_by(self, entry: Mapping[str, Any], ids: Sequence[Any]) -> list[Any]:
        """Return those of *ids* whose values don't follow from where the document takes them.

        Args:
            entry: of the journal, with what the documents held before.
            ids: of documents that it wrote.
        """
        return self.unexplained(entry["collection"], ids)

    @property
    def made_once(self) -> bool:
        """Whether values are made of what is another one the next time: none is found anew."""
        return False

    def unexplained(self, collection: str, ids: Sequence[Any]) -> list[Any]:
        """Return those of *ids* whose values don't follow from where the document takes them.

        Args:
            collection: its real name; one of those that the step touches.
            ids: of documents that the step wrote.
        """
        del collection, ids
        return []


def amounts(
    *,
    changes: int = 0,
    inserts: int = 0,
    removes: int = 0,
    builds: int = 0,
    drops: int = 0,
    copies: int = 0,
) -> dict[str, int]:
    """Return what a row of a plan would do in numbers, the same for every kind of step.

    Args:
        changes: documents that are changed.
        inserts: documents that are inserted.
        removes: documents that are removed.
        builds: indexes, collections and the like that are made.
        drops: those that are dropped or set aside.
        copies: documents that are copied into what is built.
    """
    return {
        "changes": changes,
        "inserts": inserts,
        "removes": removes,
        "builds": builds,
        "drops": drops,
        "copies": copies,
    }


def problem(
    *,
    step: int,
    collection: str,
    what: str,
    count: int,
    samples: list[Any],
    policy: str,
    fix: str,
    repair: str | None = None,
) -> dict[str, Any]:
    """Return a problem of a plan; *repair* is the one that settles it, as `repair=` names it."""
    return {
        **({"repair": repair} if repair else {}),
        "step": step,
        "collection": collection,
        "what": what,
        "count": count,
        "samples": samples,
        "policy": policy,
        "fix": fix,
    }


__all__ = ["Check", "Operation", "Plan", "Row", "Scope", "Touched", "amounts", "problem"]


def about_how_many(collection: Collection[dict[str, Any]], comment: str | None) -> int:
    """Return about how many documents there are; none only where there really are none.

    The server's own count is wrong after a crash, in both directions.
    """
    if collection.find_one({}, {"_id": 1}, comment=comment) is None:
        return 0
    return max(1, collection.estimated_document_count(comment=comment))
