"""The lint of migration documents: what is allowed and yet goes wrong at night, each with a code.

It reads the document alone, before anything connects, so it can't know how large a collection is
or whether an index exists. What was decided on is accepted in the document, with the reason:
``accept: {M005: the collection holds forty documents}``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from . import impure, looks_like_code, made_of_nothing, operators, reads

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a code stands for."""

    code: str
    title: str
    why: str
    safe: str
    find: Callable[[Document], Iterator[str]]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One place in a document where a rule applies."""

    code: str
    source: str
    where: str
    title: str
    why: str
    safe: str

    def __str__(self) -> str:
        return f"{self.code} {self.where}: {self.title}. {self.safe}"


def findings(text: str, source: str) -> list[Finding]:
    """Return what the lint finds in the migration document *text*; it must be a valid one."""
    document, *behind = list(yaml.safe_load_all(text))
    # What lies beside the document comes behind it, in the same text.
    document["files"] = dict(behind[0].get("files", {})) if behind else {}
    accepted = document.get("accept", {})
    found = [
        Finding(
            code=rule.code,
            source=source,
            where=where,
            title=rule.title,
            why=rule.why,
            safe=rule.safe,
        )
        for rule in RULES
        if rule.code not in accepted
        for where in rule.find(document)
    ]
    known = {rule.code for rule in RULES}
    found += [
        Finding(
            code=code,
            source=source,
            where="accept",
            title="there is no such code",
            why="It accepts nothing.",
            safe="Remove it, or correct the code",
        )
        for code in accepted
        if code not in known
    ]
    return found


def _steps(document: Document, kind: str) -> Iterator[tuple[str, int, Any]]:
    for index, step in enumerate(document["steps"]):
        if kind in step:
            yield f"steps[{index}].{kind}", index, step[kind]


def _sources(value: Any, where: str) -> Iterator[tuple[str, str, Any]]:
    """Yield every source of a value with its place and kind."""
    for kind, body in value.items():
        yield f"{where}.{kind}", kind, body
        if kind == "first_of":
            for index, item in enumerate(body):
                yield from _sources(item, f"{where}.{kind}[{index}]")


def _unique_index_live(document: Document) -> Iterator[str]:
    for where, _index, body in _steps(document, "create_index"):
        if body.get("options", {}).get("unique") and document["downtime"] != "required":
            yield where


def _loose_reference(document: Document) -> Iterator[str]:
    for where, _index, body in _steps(document, "set_field"):
        for place, kind, spec in _sources(body["value"], f"{where}.value"):
            bounded = "where" in spec or "within" in spec if kind == "reference" else True
            if not bounded and "_id" not in spec["match"]:
                yield place


def _unnamed_referent(document: Document) -> Iterator[str]:
    for where, _index, body in _steps(document, "set_field"):
        if body.get("type") == "objectId" and "references" not in body:
            yield where


def _no_postconditions(document: Document) -> Iterator[str]:
    if not document.get("postconditions") and any(
        kind in step for step in document["steps"] for kind in _NOT_SELF_EVIDENT
    ):
        yield "postconditions"


def _index_before_data(document: Document) -> Iterator[str]:
    for where, index, body in _steps(document, "create_index"):
        for step in document["steps"][index + 1 :]:
            later = step.get("set_field", {})
            named = {step.get("insert_for_each", {}).get("into")}
            if set(body["keys"]) & {later.get("field")}:
                named |= set(later["collections"])
            if named & set(body["collections"]):
                yield where
                break


def _no_after(document: Document) -> Iterator[str]:
    first = not document["id"].isdigit() or int(document["id"]) <= _FIRST
    if "after" not in document and not first:
        yield "after"


def _unwatched_skip(document: Document) -> Iterator[str]:
    if document.get("postconditions"):
        return
    for where, _index, body in _steps(document, "set_field"):
        for key in ("when_unresolved", "when_unclear", "when_contradicted"):
            if body.get(key) == "skip":
                yield f"{where}.{key}"


def _untyped(document: Document) -> Iterator[str]:
    for where, _index, body in _steps(document, "set_field"):
        if "type" not in body and "references" not in body:
            yield where


def _no_down(document: Document) -> Iterator[str]:
    for where, _index, body in _steps(document, "command"):
        if "down" not in body:
            yield where


def _unknown_references(document: Document) -> Iterator[str]:
    for kind in ("insert_for_each", "insert"):
        for where, _index, body in _steps(document, kind):
            if "referenced_by" not in body:
                yield where


def _expiring(document: Document) -> Iterator[str]:
    for kind in ("create_index", "replace_index"):
        for where, _index, body in _steps(document, kind):
            if "expireAfterSeconds" in body.get("options", {}):
                yield where


def _deletes_all(document: Document) -> Iterator[str]:
    for where, _index, body in _steps(document, "delete"):
        if not body["where"] and "only_if" not in body:
            yield f"{where}.where"


def _unwatched_drop(document: Document) -> Iterator[str]:
    watched = {
        body["in"]
        for check in document.get("preconditions", ())
        for body in check.values()
        if isinstance(body, dict) and "in" in body
    }
    for where, _index, body in _steps(document, "drop_collection"):
        if set(body["collections"]) - watched:
            yield where


def _rebuilt_live(document: Document) -> Iterator[str]:
    if document["downtime"] != "required":
        for where, _index, _body in _steps(document, "rebuild_collection"):
            yield where


def _merge_live(document: Document) -> Iterator[str]:
    if document["downtime"] == "none":
        for where, _index, _body in _steps(document, "merge_duplicates"):
            yield where


def _leaves_live(document: Document) -> Iterator[str]:
    if document["downtime"] == "none":
        for kind in ("move", "extract", "change_id"):
            for where, _index, body in _steps(document, kind):
                if not body.get("copy"):
                    yield where


def _no_fix(document: Document) -> Iterator[str]:
    for index, check in enumerate(document.get("preconditions", ())):
        if "fix" not in check and check.get("severity", "error") == "error":
            yield f"preconditions[{index}]"


def _unknown_operators(document: Document) -> Iterator[str]:
    for place, near in _all_operators(document):
        yield f"{place} (do you mean {near}?)" if near else place


def _all_operators(document: Document) -> operators.Unknown:
    """Yield the unknown operators of every filter, pipeline and expression of *document*."""
    for index, step in enumerate(document["steps"]):
        for kind, body in step.items():
            where = f"steps[{index}].{kind}"
            if kind in _LIKE_UPDATE:
                yield from _operators_of_update(body, where)
            elif isinstance(body, dict):
                yield from _operators_of(body, where)
        yield from _operators_of_sources(step.get("set_field", {}), f"steps[{index}].set_field")
    for part in ("preconditions", "postconditions"):
        for index, check in enumerate(document.get(part, ())):
            for kind, body in check.items():
                if isinstance(body, dict):
                    yield from _operators_of(body, f"{part}[{index}].{kind}")


def _operators_of_sources(body: Document, place: str) -> operators.Unknown:
    for where, kind, spec in _sources(body.get("value", {}), f"{place}.value"):
        if kind == "expression":
            yield from operators.in_expression(spec, where)
        elif isinstance(spec, dict) and kind != "value":
            yield from operators.in_filter(spec.get("where", {}), f"{where}.where")
            yield from operators.in_expression(spec.get("match", {}), f"{where}.match")


def _impure_function(document: Document) -> Iterator[str]:
    for name, text in document["files"].items():
        yield from (f"{name}: {place}" for place in impure.places(text))


def _looks_like_code(document: Document) -> Iterator[str]:
    for index, step in enumerate(document["steps"]):
        for kind, body in step.items():
            if kind != "command" and isinstance(body, dict):
                where = f"steps[{index}].{kind}"
                yield from looks_like_code.places(body, where)
                documents = body.get("documents", []) if kind == "insert" else []
                yield from looks_like_code.places(documents, f"{where}.documents", filters=True)
    for part in ("preconditions", "postconditions"):
        yield from looks_like_code.places(document.get(part, []), part)


def _made_of_nothing(document: Document) -> Iterator[str]:
    for where, _index, body in _steps(document, "update"):
        yield from made_of_nothing.places(body, where)


def _operators_of_update(body: Document, where: str) -> operators.Unknown:
    yield from operators.in_filter(body.get("where", {}), f"{where}.where")
    sources = [(f"{where}.let.{name}", spec) for name, spec in body.get("let", {}).items()]
    sources += [(f"{where}.id", body["id"])] if "id" in body else []
    for place, level in reads.levels(body, where):
        sources += [(f"{place}.set.{path}", one) for path, one in level.get("set", {}).items()]
        yield from operators.in_expression(level.get("remove", True), f"{place}.remove")
    for place, source in sources:
        for kind, spec in source.items():
            if kind == "unique_text" and "expression" in spec["of"]:
                yield from operators.in_expression(spec["of"]["expression"], f"{place}.{kind}.of")
            if kind == "expression":
                yield from operators.in_expression(spec, f"{place}.{kind}")
            elif kind in ("reference", "aggregate"):
                yield from operators.in_expression(spec["match"], f"{place}.{kind}.match")
                yield from operators.in_filter(spec.get("where", {}), f"{place}.{kind}.where")
                stages = spec.get("pipeline", ())
                yield from operators.in_pipeline(stages, f"{place}.{kind}.pipeline")


def _operators_of(body: Document, where: str) -> operators.Unknown:
    yield from operators.in_filter(body.get("where", {}), f"{where}.where")
    yield from operators.in_pipeline(body.get("pipeline", ()), f"{where}.pipeline")
    for key in ("document", "let", "inputs", "for_each"):
        yield from operators.in_expression(body.get(key, {}), f"{where}.{key}")
    fitted = body.get("not_overlapping", {}).get("fitted", {})
    yield from operators.in_expression(fitted, f"{where}.not_overlapping.fitted")
    if isinstance(body.get("equals"), dict):
        yield from operators.in_filter(body["equals"].get("where", {}), f"{where}.equals.where")


# Whose values come from the same sources.
_LIKE_UPDATE = ("update", "move", "change_id")
# The project's first migration: nothing of ours can come before it.
_FIRST = 3
# What these leave behind can't be read off the operation itself.
_NOT_SELF_EVIDENT = ("insert_for_each", "merge_duplicates", "command")

RULES = (
    Rule(
        code="M001",
        title="a unique index is built while the application writes",
        why="One duplicate that the application makes between the data and the index, and the "
        "build fails at its very end, with all the data migrated.",
        safe="Set downtime: required, and check for duplicates with a `unique` precondition",
        find=_unique_index_live,
    ),
    Rule(
        code="M002",
        title="a reference matches by something that isn't known to be unique",
        why="What is one document today is two next month: then nothing says which is meant, and "
        "the migration stops on data that the rehearsal didn't have.",
        safe="Match _id, or bound it by `where` or `within`",
        find=_loose_reference,
    ),
    Rule(
        code="M003",
        title="an ObjectId is set without saying what it refers to",
        why="Dangling values then count as right: they are neither replaced nor reported.",
        safe="Add references: with the collection",
        find=_unnamed_referent,
    ),
    Rule(
        code="M004",
        title="there is no postcondition",
        why="An operation checks what it wrote. Whether that is what was meant (one open period "
        "for each organization, say), only a postcondition can tell.",
        safe="State at least one fact that must hold afterwards",
        find=_no_postconditions,
    ),
    Rule(
        code="M005",
        title="an index is built before the data that it holds",
        why="Every write then also writes the index: slower in total, and the index is up to ten "
        "times as large on a large collection.",
        safe="Put the step behind the data",
        find=_index_before_data,
    ),
    Rule(
        code="M006",
        title="`after` is missing",
        why="Without it, it can run on a database that the earlier migrations never saw, and an "
        "earlier one can be rolled back from under it.",
        safe='Name what it builds on, such as after: ["004"], or say after: []',
        find=_no_after,
    ),
    Rule(
        code="M007",
        title="documents may be skipped, and nothing looks how many are",
        why="A skipped document is one that the application meets without its field.",
        safe="Add a postcondition that counts them, or let the policy be fail",
        find=_unwatched_skip,
    ),
    Rule(
        code="M008",
        title="the type of the field isn't said",
        why="Only missing and null then count: a value of a wrong type passes for a right one.",
        safe="Add type:",
        find=_untyped,
    ),
    Rule(
        code="M009",
        title="a command has no `down`",
        why="If anything fails behind it, the only way back is to restore the whole backup.",
        safe="Give the command that undoes it, and rehearse that, too",
        find=_no_down,
    ),
    Rule(
        code="M010",
        title="it isn't said what will refer to the inserted documents",
        why="A rollback would delete a document that the application has referred to since.",
        safe="Add referenced_by: {collection: field}, or {} if nothing can",
        find=_unknown_references,
    ),
    Rule(
        code="M011",
        title="the index makes documents expire",
        why="The server begins to delete as soon as it is built, outside of any journal: a "
        "rollback brings none of them back.",
        safe="Build it by a migration of its own, long after this one has proved right",
        find=_expiring,
    ),
    Rule(
        code="M012",
        title="duplicates are merged while the application writes",
        why="It may hold the one that goes in its memory, and write a reference to it afterwards.",
        safe="Set downtime: recommended or required",
        find=_merge_live,
    ),
    Rule(
        code="M023",
        title="documents go elsewhere while the application writes",
        why="Code that looks for them where they were, or under the _id that they had, finds "
        "nothing from one moment to the next.",
        safe="Deploy code that finds them at both places before, and accept this; or set downtime",
        find=_leaves_live,
    ),
    Rule(
        code="M013",
        title="a precondition doesn't say how to make it hold",
        why="Whoever reads it does so at 02:00.",
        safe="Add fix: with what to do",
        find=_no_fix,
    ),
    Rule(
        code="M014",
        title="MongoDB doesn't know this operator",
        why="The server refuses it, and whoever plans the migration learns of it from the server.",
        safe="Correct it, or accept it where a newer server than 8.0 knows it",
        find=_unknown_operators,
    ),
    Rule(
        code="M020",
        title="every document of a collection is deleted",
        why="The journal keeps each of them, one by one: slow, and as large as they are.",
        safe="Say which by `where`, or set the collection aside by drop_collection",
        find=_deletes_all,
    ),
    Rule(
        code="M021",
        title="a collection is dropped, and nothing looks whether it is still written to",
        why="Whatever still writes there makes a new one of its name, without indexes or options, "
        "and a rollback then finds that one in its way.",
        safe="Add a precondition on it, such as none written since a date",
        find=_unwatched_drop,
    ),
    Rule(
        code="M022",
        title="a collection is rebuilt while the application may write to it",
        why="Its name is missing while the last difference is copied: an insert makes another one, "
        "an update finds nothing.",
        safe="Set downtime to required",
        find=_rebuilt_live,
    ),
    Rule(
        code="M024",
        title="a document without the field gets one",
        why="MongoDB's conversions and sums give null for a missing field, $toLower empty text.",
        safe="Say which documents by `where`, such as {price: {$exists: true}}; of an element, by "
        "$cond, which gives $$REMOVE otherwise; or accept it where null is wanted",
        find=_made_of_nothing,
    ),
    Rule(
        code="M025",
        title="text that looks like something else stands where a value is meant",
        why="It is compared with, or written, as the text that it is: nothing matches, or every "
        "document gets it.",
        safe="Write extended JSON or an expression; accept it where that very text is meant",
        find=_looks_like_code,
    ),
    Rule(
        code="M026",
        title="the team's function may give another value the next time",
        why="A value that was lost by a kill is computed once more, and a verification compares. "
        "What the plan shows is then not what is written.",
        safe="Give it what it needs by `inputs`, such as a value of `let: {seed: {generate: "
        "uuid}}`; accept it where it has no influence on what is returned",
        find=_impure_function,
    ),
)


def explain(found: Iterable[Finding]) -> list[str]:
    """Return findings as lines for a terminal, each with the reason and the safe way."""
    lines = []
    for item in found:
        lines += [
            f"{item.source}: {item.code} {item.where}: {item.title}",
            f"    why   {item.why}",
            f"    safe  {item.safe}",
        ]
    return lines
