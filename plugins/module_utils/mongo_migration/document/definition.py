"""A migration document: read, validated and bound to an inventory before anything connects."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import DecimalException
from pathlib import Path, PurePath
from typing import Any

import bson
import jsonschema
import yaml
from bson.errors import BSONError

from ..errors import Collector, DefinitionError
from ..values import ejson
from . import catalogue, explained, operators, reads, schema
from . import collections as naming
from . import variables as template
from .collections import is_ours

_CONDITIONS = frozenset({"when"})
# The server takes 16 MiB at once; nobody reviews as much.
_MOST_TEXT = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Step:
    """One operation of a migration, with its options as BSON values."""

    index: int
    kind: str
    name: str
    when: bool | str
    options: dict[str, Any]
    #: Texts of the files beside the document, by name.
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A migration document bound to the variables and names of one deployment."""

    id: str
    name: str
    summary: str
    after: tuple[str, ...]
    downtime: str
    digest: str
    text: str
    source: str
    variables: dict[str, Any]
    collections: dict[str, str | None]
    assume_applied: tuple[str, ...]
    steps: tuple[Step, ...]
    #: Texts of the files beside the document that it names; part of its digest.
    files: Mapping[str, str] = field(default_factory=dict)
    #: live_first or stopped; None leaves it to the plan.
    cutover: str | None = None
    preconditions: tuple[dict[str, Any], ...] = field(default=())
    postconditions: tuple[dict[str, Any], ...] = field(default=())

    @property
    def is_repair(self) -> bool:
        """Whether this is a repair, which is done again whenever there is something to repair."""
        return naming.is_repair(self.id)

    def as_dict(self) -> dict[str, Any]:
        """Return what identifies the migration."""
        return {
            "id": self.id,
            "name": self.name,
            "summary": self.summary,
            "digest": self.digest,
            "downtime": self.downtime,
            "after": list(self.after),
        }


def load(
    text: str,
    source: str = "definition",
    *,
    variables: Mapping[str, Any] | None = None,
    collections: Mapping[str, str | None] | None = None,
    assume_applied: Sequence[str] = (),
    files: Mapping[str, str] | None = None,
) -> Definition:
    """Return the definition in *text*.

    Args:
        text: a migration document in YAML.
        source: its file name, for messages.
        variables: values from the inventory for the variables that it declares.
        collections: real names of collections; ``None`` for one that the deployment lacks.
        assume_applied: ids of migrations that other tools applied.
        files: texts of the files beside the document that it may name.

    Raises:
        DefinitionError: the document, a variable or the map of collections is wrong; the
            message names the file, the path in it and the fix.
    """
    raw, beside_it = _parse(text, source)
    _validate(raw, schema.HEADER, source)
    _check_file_name(raw, source)
    values = template.bind(raw.get("variables", {}), dict(variables or {}), source=source)
    body = {key: value for key, value in raw.items() if key != "variables"}
    rendered = template.render(body, values, source=source, keep=_CONDITIONS)
    _validate({**rendered, "variables": raw.get("variables", {})}, schema.DOCUMENT, source)
    rendered = _to_bson(rendered, source)
    beside = _files(rendered["steps"], {**beside_it, **(files or {})}, source)
    steps = tuple(_steps(rendered["steps"], beside))
    _refuse_operators(rendered, source)
    _refuse_chains(steps, source)
    names = dict(collections or {})
    _check_names(names)
    return Definition(
        id=raw["id"],
        name=raw["name"],
        summary=raw["summary"],
        after=tuple(raw.get("after", ())),
        downtime=raw["downtime"],
        cutover=raw.get("cutover"),
        digest=_digest(raw, beside),
        text=text,
        source=source,
        variables=values,
        collections=names,
        assume_applied=tuple(assume_applied),
        steps=steps,
        files=beside,
        preconditions=tuple(rendered.get("preconditions", ())),
        postconditions=tuple(rendered.get("postconditions", ())),
    )


def read_text(path: Path) -> str:
    """Return the text of the document at *path*, with the Python files beside it that it names.

    They follow as a second YAML document, so that one text holds all that a run is made of.

    Raises:
        DefinitionError: it isn't UTF-8; the message names the line.
        OSError: it can't be read.
    """
    text = _decoded(path)
    try:
        document = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError, ValueError):
        return text  # whoever loads it says what is wrong
    steps = document.get("steps") if isinstance(document, dict) else None
    names = [path.with_name(PurePath(name).name) for name in sorted(set(_named_files(steps)))]
    files = {beside.name: _decoded(beside) for beside in names if beside.is_file()}
    if not files:
        return text
    behind = json.dumps({"files": files}, ensure_ascii=False)
    return f"{text.rstrip()}\n---\n{behind}\n"


def as_option(path: Path, values: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the document at *path* as the modules take one among others.

    Args:
        path: of the document.
        values: for its variables; None for those of the document.

    Returns:
        ``definition``, ``definition_name`` and ``variables``.

    Raises:
        DefinitionError: as :func:`read_text`.
        OSError: as :func:`read_text`.
    """
    return {
        "definition": read_text(path),
        "definition_name": path.name,
        "variables": values or {},
    }


def document_of(text: str) -> dict[str, Any]:
    """Return the document in *text*, which was loaded before, without the files behind it."""
    return dict(next(iter(yaml.safe_load_all(text))))


def _decoded(path: Path) -> str:
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DefinitionError(
            f"{path}: line {line}: isn't UTF-8 (byte {raw[error.start]:#04x}); save the file as "
            "UTF-8",
            source=str(path),
        ) from error


def _digest(raw: Mapping[str, Any], beside: Mapping[str, str]) -> str:
    """Return the digest of a document with the files that it names."""
    whole = {"document": raw, "files": beside} if beside else raw
    return hashlib.sha256(ejson.canonical(whole).encode()).hexdigest()


def _files(steps: Any, files: Mapping[str, str], source: str) -> dict[str, str]:
    """Return the texts of the files that *steps* name.

    Raises:
        DefinitionError: one isn't there.
    """
    named = sorted(set(_named_files(steps)))
    problems = Collector(DefinitionError)
    for name in named:
        if name not in files:
            problems.add(f"{name}: put the file beside the document")
    problems.raise_if_any(f"{source} names files that aren't there:", source=source)
    return {name: files[name] for name in named}


def _named_files(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        if isinstance(body := tree.get("python"), dict) and isinstance(body.get("file"), str):
            yield body["file"]
        tree = list(tree.values())
    if isinstance(tree, list):
        for item in tree:
            yield from _named_files(item)


def _steps(raw: Sequence[dict[str, Any]], files: Mapping[str, str]) -> list[Step]:
    steps = []
    for index, item in enumerate(raw):
        kind = next(kind for kind in schema.OPERATIONS if kind in item)
        steps.append(
            Step(
                index=index,
                kind=kind,
                name=item.get("name", kind),
                when=item.get("when", True),
                options=item[kind],
                files=files,
            )
        )
    return steps


def _refuse_operators(rendered: Mapping[str, Any], source: str) -> None:
    """Refuse a `value` that is an expression: it would be written as it stands there."""
    problems = Collector(DefinitionError)
    for path, body in _values(rendered["steps"], "steps"):
        wrong = next((key for key in reads.keys(body) if key in operators.EXPRESSIONS), None)
        if wrong is not None:
            problems.add(f"{path}: {wrong} is an operator: it stands below `expression`")
    problems.raise_if_any(f"{source} is not a valid migration document:", source=source)


def _values(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield what the sources `value` hold, and the documents of `insert`, with their places."""
    if isinstance(tree, dict):
        for key, body in tree.items():
            where = f"{path}.{key}"
            if key in ("set", "otherwise"):
                for name, source in [("", body)] if key == "otherwise" else body.items():
                    if isinstance(source, dict) and set(source) == {"value"}:
                        yield f"{where}.{name}.value".replace("..", "."), source["value"]
            if key == "insert" and isinstance(body, dict):
                yield f"{where}.documents", body.get("documents")
            yield from _values(body, where)
    elif isinstance(tree, list):
        for index, item in enumerate(tree):
            yield from _values(item, f"{path}[{index}]")


def _refuse_chains(steps: Sequence[Step], source: str) -> None:
    """Refuse a value made from what an earlier step writes: no plan can say what it would be."""
    setting = [step for step in steps if step.kind == "set_field"]
    for number, later in enumerate(setting):
        reads = fields_in(later.options["value"]) | _fields_of(later.options.get("where", {}))
        owners = later.options["collections"]
        if isinstance(owners, dict):
            reads |= {str(owner).split(".")[0] for owner in owners.values()}
        for earlier in setting[:number]:
            shared = set(owners) & set(earlier.options["collections"])
            if shared and (field := earlier.options["field"]) in reads:
                raise DefinitionError(
                    f"{source}: steps[{later.index}].set_field reads '{field}' of "
                    f"{', '.join(sorted(shared))}, which steps[{earlier.index}] only writes. Make "
                    "it a migration of its own, with this one in its `after`.",
                    source=source,
                )


def fields_in(tree: Any) -> set[str]:
    """Return the fields of the document itself that expressions read."""
    if isinstance(tree, dict):
        return set().union(*map(fields_in, tree.values()))
    if isinstance(tree, list):
        return set().union(*map(fields_in, tree))
    if isinstance(tree, str) and tree.startswith("$") and not tree.startswith("$$"):
        return {tree[1:].split(".")[0]}
    return set()


def _fields_of(selector: Any) -> set[str]:
    """Return the fields that a filter looks at."""
    if isinstance(selector, dict):
        names = {key.split(".")[0] for key in selector if not key.startswith("$")}
        return names.union(*map(_fields_of, selector.values()), fields_in(selector))
    return set().union(*map(_fields_of, selector)) if isinstance(selector, list) else set()


def _parse(text: str, source: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the document and the files that :func:`read_text` has put behind it."""
    if len(text) > _MOST_TEXT:
        raise DefinitionError(
            f"{source} has {len(text):,} characters; at most {_MOST_TEXT:,}. What is to be brought "
            "in lies in a collection, not in the document",
            source=source,
        )
    try:
        raw, *behind = list(yaml.load_all(text, Loader=_Loader)) or [None]
        json.dumps(raw, default=str)
    except yaml.YAMLError as error:
        raise DefinitionError(f"{source} isn't valid YAML: {error}", source=source) from error
    except (RecursionError, ValueError) as error:
        raise DefinitionError(
            f"{source}: it is nested too deeply, or an alias (*name) stands inside its own anchor "
            "(&name)",
            source=source,
        ) from error
    if not isinstance(raw, dict):
        raise DefinitionError(
            f"{source} must be a mapping with id, name, summary, downtime and steps", source=source
        )
    if not behind:
        return raw, {}
    files = behind[0].get("files") if isinstance(behind[0], dict) and len(behind) == 1 else None
    if not isinstance(files, dict) or not all(isinstance(one, str) for one in files.values()):
        raise DefinitionError(f"{source}: there is more than one document in it", source=source)
    return raw, files


def _validate(document: Any, rules: dict[str, Any], source: str) -> None:
    problems = Collector(DefinitionError)
    validator = jsonschema.Draft202012Validator(rules)
    for error in sorted(validator.iter_errors(document), key=lambda e: list(map(str, e.path))):
        problems.add(explained.explain(error))
    problems.raise_if_any(f"{source} is not a valid migration document:", source=source)


def _check_file_name(raw: Mapping[str, Any], source: str) -> None:
    """Refuse an id that isn't its file's: one playbook would run it, another would roll it back."""
    if raw["id"] in raw.get("after", ()):
        raise DefinitionError(f"{source}: after: it names itself; remove '{raw['id']}'")
    problems = Collector(DefinitionError)
    for problem in catalogue.disagreements(PurePath(source).name, raw, place=source):
        problems.add(problem)
    problems.raise_if_any("The document and its file's name disagree:", source=source)


def _to_bson(rendered: dict[str, Any], source: str) -> dict[str, Any]:
    if wrong := _not_bson(rendered, ""):
        path, node, error = wrong
        # Of a number that is none, the library says but the names of its own conditions.
        why = "" if isinstance(error, DecimalException) else f" ({error})"
        said = json.dumps(node, default=str)[:200]
        raise DefinitionError(
            f"{source}: {path}: not valid extended JSON: {said}{why}", source=source
        ) from error
    return dict(ejson.from_plain(rendered))


def _not_bson(node: Any, path: str) -> tuple[str, Any, Exception] | None:
    """Return where the innermost part is that has no meaning as BSON, that part, and why."""
    parts: Iterable[tuple[str, Any]] = ()
    if isinstance(node, dict):
        parts = ((f"{path}.{key}".lstrip("."), part) for key, part in node.items())
    elif isinstance(node, list):
        parts = ((f"{path}[{index}]", part) for index, part in enumerate(node))
    for where, part in parts:
        if wrong := _not_bson(part, where):
            return wrong
    try:
        bson.encode({"v": ejson.from_plain(node)})
    # Of a malformed value the library says it by whatever comes first: a number by arithmetic.
    except (
        ValueError,
        TypeError,
        ArithmeticError,
        LookupError,
        AttributeError,
        BSONError,
    ) as error:
        return path, node, error
    return None


def _check_names(names: Mapping[str, Any]) -> None:
    known: dict[str, str] = {}
    for name, real in names.items():
        if real is None:
            continue
        why = ""
        if not isinstance(real, str) or not real or set(real) & set("$\0") or real[0] == ".":
            why = "no collection can have that name"
        elif real.startswith("system.") or is_ours(real):
            why = "that collection isn't one of the application"
        elif real in known:
            why = f"so is '{known[real]}'"
        if why:
            raise DefinitionError(
                f"mongo_collections: '{name}' is mapped to {real!r}, but {why}; write the "
                "collection's real name, or null where the deployment doesn't have it"
            )
        known[real] = name


class _Loader(yaml.SafeLoader):
    """YAML as JSON knows it: no dates, no key twice, only strings as keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _value in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r} isn't text; put it in quotes",
                    problem_mark=key_node.start_mark,
                )
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key '{key}' stands twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_NO_NUMBER = 'isn\'t the number that it looks like; put it in quotes, such as "{}", or write digits'


def _refuse(node: yaml.ScalarNode, why: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=f"{node.value} {why}", problem_mark=node.start_mark)


def _bool(loader: _Loader, node: yaml.ScalarNode) -> bool:
    """Read a boolean; `yes`, `on` and the like are text to whoever doesn't know YAML 1.1."""
    if node.value.lower() not in ("true", "false"):
        raise _refuse(node, "is text to some and true or false to others; put text in quotes")
    return bool(loader.construct_yaml_bool(node))


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    """Read a whole number; 010 would be eight, and 12:30 seven hundred and fifty."""
    if not re.fullmatch(r"[-+]?(0|[1-9][0-9]*)", node.value):
        raise _refuse(node, _NO_NUMBER.format(node.value))
    return int(loader.construct_yaml_int(node))


def _float(loader: _Loader, node: yaml.ScalarNode) -> float:
    if ":" in node.value or "_" in node.value:
        raise _refuse(node, _NO_NUMBER.format(node.value))
    return float(loader.construct_yaml_float(node))


for _tag, _read in (("bool", _bool), ("int", _int), ("float", _float)):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _read)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:timestamp"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
