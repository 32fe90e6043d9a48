"""The operation ``update``: plan, apply and check."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from ...document import reads, update_sources
from ...document.collections import OURS, Collections, fitting
from ...document.definition import Step
from ...document.update_sources import Source
from ...document.value_sources import Resolution, Scope
from ...errors import DefinitionError
from ...ledger.batches import Writer
from ...support.retry import is_about_a_document
from ...support.tables import aligned, number, place
from ...values.as_value import as_value
from ...values.compare import bind_now, hashable
from .. import own_lookups, previews
from ..base import Check, Need, Operation, Plan, Row, Touched, amounts, problem
from ..bodies import Body, of_document
from . import expressions, numbering, unique_texts, whole
from .expressions import COMPUTED
from .foresight import Foresight
from .images import KIND, Images, before_of
from .numbering import numbered
from .reader import REFUSED, TWICE, Reader
from .tally import Tally
from .walk import FieldWriting, Walk, Writing
from .whole import WholeReader
from .whole_images import WholeWriting

_PAGE = 1000


class Update(Operation):
    """See the package. Options are those of the schema's ``update``."""

    KIND = KIND
    VARIABLES = ()
    TARGET = str

    @classmethod
    def bodies(cls, step: Step) -> Iterator[Body]:
        """Yield what the server has to understand of *step*."""
        yield from super().bodies(step)
        yield from of_document(step, cls.VARIABLES, "document", "expression")

    def __init__(self, step: Step, scope: Scope) -> None:
        super().__init__(step, scope)
        self._options = step.options
        self._place = f"steps[{step.index}].{KIND}"
        names = scope.collections
        named = _named(step.options)
        self._absent = [name for name in named if names.absent(name)]
        if named and len(named) > 1 and len(self._absent) == len(named):
            raise DefinitionError(f"{self._place}: the inventory maps every collection to null")
        self._targets = [
            (name, names.get(name, write=True)) for name in named if not names.absent(name)
        ] or [(real, names.database[real]) for real in matching(step.options, names)]
        self._where = bind_now(step.options.get("where", {}), scope.now)
        self._variables, self._looked_up = looked_up(step.options, self._place)
        self._compiled = expressions.compile_update(
            step.options, now=scope.now, variables=self._variables, where=self._place
        )
        self._check_among_all()
        self._check_policies()
        # From a whole document to a whole document.
        self._document: dict[str, Any] | None = step.options.get("document")
        for place_, spec in self._places().items():
            ((kind, body),) = spec.items()
            if kind in ("reference", "aggregate"):
                names.target(body["from"])
            check_python(spec, step, f"{self._place}.{place_}")

    def _places(self) -> dict[str, Mapping[str, Any]]:
        """Return the sources that are looked up or called, by their places in the step."""
        shown = {variable: f"set.{path}" for path, variable in self._variables.items()}
        found = {shown.get(name, f"let.{name}"): spec for name, spec in self._looked_up.items()}
        return {**found, **({"document": self._document} if self._document else {})}

    def _check_policies(self) -> None:
        """Refuse a policy for what the step doesn't change."""
        given = self._options.get("when_unfit")
        levels = [level for _place, level in reads.levels(self._options)]
        known = {path for level in levels for path in expressions.paths(level)}
        known |= set(self._options.get("let", {}))
        for path in given if isinstance(given, dict) else ():
            if path not in known:
                raise DefinitionError(
                    f"{self._place}.when_unfit: the step doesn't change '{path}'; it changes "
                    f"{', '.join(sorted(known))}"
                )

    def _check_among_all(self) -> None:
        """Refuse values that depend on all documents where they can't be the same once more."""
        for path, spec in self._options.get("set", {}).items():
            where = f"{self._place}.set.{path}"
            if "number" in spec:
                numbering.check(spec["number"], path, self._where, place=where)
            if "unique_text" in spec:
                changed = expressions.paths(self._options)
                unique_texts.check(spec["unique_text"], path, changed, self._where, where)
        for name, spec in self._options.get("let", {}).items():
            if "number" in spec:
                raise DefinitionError(
                    f"{self._place}.let.{name}: a running number goes on behind those that a field "
                    "holds: name it in `set`, and use the field in a migration behind this one"
                )
            if "unique_text" in spec:
                raise DefinitionError(
                    f"{self._place}.let.{name}: a text is unique among those that a field holds: "
                    "name it in `set`, and use the field in a migration behind this one"
                )

    @staticmethod
    def names(options: Mapping[str, Any]) -> set[str]:
        """Return the collections whose documents change; those found by pattern are real ones."""
        return set(_named(options))

    @staticmethod
    def reach(step: Step, names: Collections) -> list[Touched]:
        """Return each touched top-level field of each collection."""
        reals = [names.real_name(name) for name in _named(step.options) if not names.absent(name)]
        if "document" in step.options:
            return [
                Touched(collection=real, any_field=True, places=True)
                for real in reals or matching(step.options, names)
            ]
        fields = dict.fromkeys(path.split(".")[0] for path in expressions.paths(step.options))
        return [
            Touched(collection=real, field=field, places=True)
            for real in reals or matching(step.options, names)
            for field in fields
        ]

    @staticmethod
    def lines(rows: Sequence[Row]) -> list[str]:
        """Return how many documents change in which fields."""
        body = [
            [
                place(row),
                ", ".join(row["paths"]),
                *(number(row[key]) for key in ("documents", "candidates", "to_change")),
                number(sum(item["count"] for item in row["unfit"])),
            ]
            for row in rows
        ]
        heads = ["documents", "matching", "to change", "unfit"]
        return aligned([["update", "fields", *heads], *body], numeric_from=2)

    @staticmethod
    def diff(row: Row) -> tuple[list[str], list[str]]:
        """Return real documents, in their touched fields, as they are and as they would be."""
        before, after = [], []
        label = f"{row['real_name']}: {row['to_change']:,} documents updated"
        if row["to_change"]:
            before.append(f"{row['real_name']}: 0 documents updated")
            after.append(label)
        was, becomes = previews.lines(row["real_name"], row["preview"])
        return [*before, *was], [*after, *becomes]

    def needs(self) -> Iterator[Need]:
        """Yield what the documents are made from."""
        options = self._options
        levels = [level for _place, level in reads.levels(options)]
        sources = [spec for level in levels for spec in level.get("set", {}).values()]
        sources += options.get("let", {}).values()
        read = reads.fields(
            filters=[options.get("where", {})],
            expressions=[*(level.get("remove") for level in levels), options.get("only_if")],
            sources=sources,
            paths=expressions.paths(options),
        )
        for _name, collection in self._targets:
            whole = self._document is not None
            yield Need(collection=collection.name, fields=None if whole else read)
        yield from self.needs_of_sources(sources)

    def plan(self) -> Plan:
        """Read each matching document as it is and as it would be, and count."""
        plan = Plan()
        for name in self._absent:
            plan.warnings.append(f"{name}: left out, the inventory maps it to null")
        for spec in self._looked_up.values():
            ((kind, body),) = spec.items()
            looks = kind in ("reference", "aggregate")
            if looks and not self._scope.collections.exists(body["from"]):
                plan.warnings.append(
                    f"{self._place}: there is no collection {body['from']}: nothing is found there"
                )
        if not self._targets and not self._absent:
            plan.warnings.append(f"{self._place}: no collection matches the pattern")
        for name, _collection in self._targets:
            self._plan_one(plan, name)
        return plan

    def apply(self, writer: Writer, position: dict[str, Any]) -> None:
        """Walk each collection along ``_id``, in the order of their names in the document."""
        settled = {
            row.get("real_name"): row.get("settles", False)
            for row in writer.run.document["plan"]["steps"]
            if row["step"] == self._step.index
        }
        names = [collection.name for _name, collection in self._targets]
        first = position.get("target")
        kept = ("pass", "last", "seq")
        begun = first is None
        for name, collection in self._targets:
            # By name: of those that a pattern finds, more may have come meanwhile.
            passed = first in names or collection.name < str(first)
            if not begun and collection.name != first and passed:
                continue
            start = {"step": self._step.index, "target": collection.name, "pass": 1}
            if collection.name == first:
                start |= {key: position[key] for key in kept if key in position}
            begun = True
            reader = self._reader(name, journal=writer)
            Walk(
                reader,
                self._writing(reader, writer),
                step=self._step.index,
                writer=writer,
                again=settled.get(collection.name, False),
            ).run(start)

    def _writing(self, reader: Reader, writer: Writer) -> Writing:
        if isinstance(reader, WholeReader):
            return WholeWriting(reader=reader, writer=writer, step=self._step.index)
        return FieldWriting(reader=reader, writer=writer, step=self._step.index)

    def check(self) -> Iterator[Check]:
        """Count what should be gone; the values are proved from the journal."""
        gone = list(self._options.get("rename", {}))
        if self._options.get("when_conflict") == "keep":
            gone = []
        gone += self._options.get("unset", [])
        if "only_if" in self._options:
            gone = []  # others may have it, rightly
        for name, collection in self._targets:
            count = collection.estimated_document_count(comment=self._scope.comment)
            for path in gone:
                present = expressions.present("$", path)
                left = collection.count_documents(
                    {"$and": [self._where, {"$expr": present}]}, comment=self._scope.comment
                )
                yield Check(
                    name=f"{name}: no document is left with {path}",
                    passed=left == 0,
                    expected=0,
                    observed=left,
                    examined=count,
                )

    def unexplained(self, collection: str, ids: Sequence[Any]) -> list[Any]:
        """Return all: what a document was updated from isn't there any more."""
        del collection
        return list(ids)

    def unexplained_by(self, entry: Mapping[str, Any], ids: Sequence[Any]) -> list[Any]:
        """Return those whose values don't follow from what the journal says that they held."""
        if self._looked_up or self._compiled.varies:
            return []  # what they were taken from may rightly have changed, or was made once
        wanted = set(map(hashable, ids))
        if self._document is not None:
            return list(self._unexplained_documents(entry, wanted))
        images = {
            token: (identity, raw)
            for identity, raw in Images().before(dict(entry))
            if (token := hashable(identity)) in wanted
        }
        collection = self._scope.collections.database[entry["collection"]]
        wrong = []
        for row in collection.find({"_id": {"$in": [i for i, _raw in images.values()]}}):
            identity, raw = images[hashable(row["_id"])]
            before = {key: value for key, value in row.items() if key not in entry["fields"]}
            literal: Any = [{"$literal": before}, {"$literal": RawBSONDocument(raw)}]
            pipeline: list[dict[str, Any]] = [
                {"$documents": [{}]},
                {"$replaceWith": {"$mergeObjects": literal}},
                {"$project": {"_id": 0, "a": as_value(self._compiled.fields)}},
            ]
            (made,) = collection.database.aggregate(pipeline, comment=self._scope.comment)
            now = {key: row[key] for key in made["a"] if key in row}
            extra = [key for key in entry["fields"] if key in row and key not in made["a"]]
            if extra or bson.encode(now) != bson.encode(made["a"]):
                wrong.append(identity)
        return wrong

    def _unexplained_documents(self, entry: Mapping[str, Any], wanted: set[bytes]) -> Iterator[Any]:
        """Yield the documents that don't follow from what they were as a whole."""
        reader = self._whole_reader(self._scope.collections.database[entry["collection"]])
        fields = entry["fields"]
        before = {
            hashable(row[0]): row for row in before_of(dict(entry)) if hashable(row[0]) in wanted
        }
        ids = [identity for identity, _raw, _order in before.values()]
        for token, row in reader.held(ids).items():
            identity, raw, order = before[token]
            made = reader.made_of(whole.rebuilt(row.before, raw, order, fields))
            if made is None or whole.only(made, fields) != whole.only(row.before, fields):
                yield identity

    # -- planning ----------------------------------------------------------------------------

    def _plan_one(self, plan: Plan, name: str) -> None:
        reader = self._reader(name)
        tally = Tally(whole=self._document is not None)
        position: dict[str, Any] = {}
        while rows := reader.page(position, _PAGE):
            position = {"last": rows[-1].identity}
            for row in rows:
                tally.add(row)
        comment = self._scope.comment
        real = reader.collection.name
        for item in tally.troubles.values():
            if item["policy"] == "fail":
                plan.problems.append(
                    problem(
                        step=self._step.index,
                        collection=name,
                        what=f"{item['path']}: {item['why']}",
                        count=item["count"],
                        samples=item["samples"],
                        policy="when_conflict: fail"
                        if "holds another value" in item["why"]
                        else "when_unfit: fail",
                        fix=_fix(item),
                    )
                )
            else:
                done = "set to null" if item["policy"] == "null" else "left as it is"
                plan.warnings.append(
                    f"{name}: {item['path']} {done} by policy in {item['count']:,} documents: "
                    f"{item['why']}"
                )
        self._tell_own_lookups(plan, reader.collection)
        settles = self._settles(reader, tally)
        if not settles and tally.changed:
            plan.warnings.append(
                f"{name}: documents that the application brings in while this runs stay as they "
                "are, since nothing in them says whether they were updated: stop the writers"
            )
        plan.rows.append(
            {
                "step": self._step.index,
                "kind": KIND,
                "collection": name,
                "real_name": real,
                "paths": [whole.PATH] if self._document else expressions.paths(self._options),
                "documents": reader.collection.count_documents({}, comment=comment),
                "candidates": tally.matched,
                "to_change": tally.changed,
                "amounts": amounts(changes=tally.changed),
                "unfit": list(tally.troubles.values()),
                "samples": tally.samples,
                "preview": tally.previews,
                "settles": settles,
            }
        )
        for field in [None] if self._document else self._compiled.fields:
            plan.change(real, self._where, field)
        Foresight(reader=reader, scope=self._scope, step=self._step.index, name=name).tell(
            plan, growth=tally.growth, large=tally.too_large
        )

    def _tell_own_lookups(self, plan: Plan, collection: Collection[dict[str, Any]]) -> None:
        shown = {variable: path for path, variable in self._variables.items()}
        sources = {shown.get(name, f"let.{name}"): spec for name, spec in self._looked_up.items()}
        own_lookups.tell(
            plan,
            sources,
            collection=collection,
            where=self._where,
            changed=self._compiled.fields,
            step=self._step.index,
            scope=self._scope,
        )

    def _settles(self, reader: Reader, tally: Tally) -> bool:
        """Return whether a document that was updated isn't updated again, by some of them."""
        if isinstance(reader, WholeReader):
            return all(self._settles_whole(reader, row.after) for row in tally.rows)
        for row in tally.rows:
            (now,) = reader.collection.find({"_id": row.identity}) or [None]
            if now is None:
                continue
            kept = {key: value for key, value in now.items() if key not in self._compiled.fields}
            literal: Any = [{"$literal": kept}, {"$literal": RawBSONDocument(row.after)}]
            stages: list[dict[str, Any]] = [
                {"$documents": [{}]},
                {"$replaceWith": {"$mergeObjects": literal}},
                {"$match": self._where},
            ]
            if not self._gives(reader, stages):
                continue
            # Only now: of a document that doesn't match, the expressions may have no value.
            fields: Any = {name: f"${name}" for name in self._compiled.fields}
            differs: list[Any] = [{"$ne": [fields, dict(self._compiled.fields)]}]
            # What it wrote must not be unfit when it is looked at once more.
            stops = [fault.why for fault in self._compiled.faults if fault.policy == "fail"]
            differs += [{"$ne": [why, None]} for why in stops]
            changes = {"$match": {"$expr": {"$or": differs}}}
            if self._looked_up or self._gives(reader, [*stages, changes]):
                return False
        return True

    def _gives(self, reader: Reader, stages: list[dict[str, Any]]) -> bool:
        """Return whether anything comes out of *stages*, if only an error."""
        try:
            rows = reader.collection.database.aggregate(stages, comment=self._scope.comment)
            return bool(list(rows))
        except OperationFailure as error:
            if not is_about_a_document(error):
                raise
            return True

    def _settles_whole(self, reader: WholeReader, after: bytes) -> bool:
        stages: list[dict[str, Any]] = [
            {"$documents": [{}]},
            {"$replaceWith": {"$literal": RawBSONDocument(after)}},
            {"$match": self._where},
        ]
        database = reader.collection.database
        if not list(database.aggregate(stages, comment=self._scope.comment)):
            return True
        return reader.made_of(after) == after

    def _whole_reader(self, collection: Collection[dict[str, Any]]) -> WholeReader:
        if self._document is None:
            raise AssertionError("a step that writes whole documents has one")
        ((kind, body),) = self._document.items()
        function = None
        if kind == "python":
            function = update_sources.Python(body, self._step.files)
        policy = "keep" if self._options.get("when_unfit") == "keep" else "fail"
        return WholeReader(
            collection=collection,
            where=self._scope.staying(collection.name, self._where),
            compiled=whole.COMPILED,
            sources={},
            labels={whole.PATH: (whole.PATH, policy)},
            comment=self._scope.comment or "migration-playbooks",
            expression=bind_now(body, self._scope.now),
            function=function,
            policy=policy,
        )

    def _reader(self, name: str, journal: Writer | None = None) -> Reader:
        (collection,) = [found for known, found in self._targets if known == name]
        if self._document is not None:
            return self._whole_reader(collection)

        labels = {}
        shown = {variable: path for path, variable in self._variables.items()}
        sources: dict[str, Source] = {
            variable: update_sources.build(
                spec,
                self._scope,
                files=self._step.files,
                rows=partial(self._among_all, collection, shown.get(variable, ""), journal),
            )
            for variable, spec in self._looked_up.items()
        }
        for variable in sources:
            label = shown.get(variable, variable)
            labels[variable] = (label, expressions.policy_of(self._options, label))
        return Reader(
            collection=collection,
            where=self._scope.staying(collection.name, self._where),
            compiled=self._compiled,
            sources=sources,
            labels=labels,
            comment=self._scope.comment or "migration-playbooks",
            on_error=expressions.policy_of(self._options, ""),
            only_if=bind_now(self._options.get("only_if"), self._scope.now),
        )

    def _among_all(
        self,
        collection: Collection[dict[str, Any]],
        path: str,
        journal: Writer | None,
        spec: Mapping[str, Any],
    ) -> Iterable[tuple[Any, Resolution]]:
        """Return, by ``_id``, the values for *path* that depend on all documents."""
        mine: set[bytes] = set()
        if journal is not None:
            told = {"step": self._step.index, "collection": collection.name}
            for entry in journal.journal.entries(**told):
                mine.update(map(hashable, Images().ids(entry)))
        ((kind, body),) = spec.items()
        if kind == "number":
            return numbered(collection, self._where, body, path, mine)
        files, now = self._step.files, self._scope.now
        return unique_texts.given(collection, self._where, body, path, mine, files=files, now=now)


def _fix(item: Mapping[str, Any]) -> str:
    if item["why"].startswith(REFUSED):
        return (
            "guard the expression, such as by $cond, correct these documents, leave them out with "
            "`where`, or choose when_unfit: keep"
        )
    if item["why"].endswith(TWICE):
        return "write these documents anew, with each field once, or leave them out with `where`"
    what = f"correct {item['path']} in these documents, leave them out with `where`, or choose"
    if "holds another value" in item["why"]:
        return f"{what} when_conflict: old, new or keep"
    if " raised " in item["why"] or "isn't pure" in item["why"]:
        return f"correct the function, {what.removeprefix('correct ')} when_unfit: keep or null"
    return f"{what} when_unfit: keep or null"


def check_python(spec: Mapping[str, Any], step: Step, where: str) -> None:
    """Refuse a function of the team that can't be called.

    Raises:
        DefinitionError: with its place in the document.
    """
    body = spec.get("python") or spec.get("unique_text", {}).get("of", {}).get("python")
    if body is None:
        return
    try:
        update_sources.Python(body, step.files)
    except DefinitionError as error:
        raise DefinitionError(f"{where}: {error.message}") from error


def _named(options: Mapping[str, Any]) -> list[str]:
    named = options["collections"]
    return [] if isinstance(named, dict) else list(named)


def matching(options: Mapping[str, Any], names: Collections) -> list[str]:
    """Return the real collections whose name fits the pattern."""
    named = options["collections"]
    if not isinstance(named, dict):
        return []
    pattern = fitting(named["matching"], "update.collections.matching")
    return sorted(
        real
        for real in names.ordinary()
        if real not in OURS and not real.startswith("_migrations") and pattern.search(real)
    )


def looked_up(
    options: Mapping[str, Any], where: str
) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """Return the variable of each path whose source is looked up, and the sources of all."""
    found = dict(options.get("let", {}))
    paths = {}
    for index, (path, spec) in enumerate(options.get("set", {}).items()):
        if not set(spec) & set(COMPUTED):
            paths[path] = f"looked_up_{index}"
            found[paths[path]] = spec
    for place_, inner in list(reads.levels(options, where))[1:]:
        for path, spec in inner.get("set", {}).items():
            if not set(spec) & set(COMPUTED):
                raise DefinitionError(
                    f"{place_}.set.{path}: within an array, only value, expression "
                    "and map; look it up in `let`, and use it in an expression"
                )
    return paths, found
