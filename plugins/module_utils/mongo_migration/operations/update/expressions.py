"""An ``update`` as expressions: for each touched top-level field, what becomes of it.

Every expression sees the document as it was. One that gives nothing leaves its field alone; one
that gives ``UNFIT`` says that there is no right value, and the step's policy decides; one that
gives ``UNSET`` takes the field away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bson.binary import Binary

from ...document import made_once
from ...errors import DefinitionError
from ...values.compare import bind_now

# No application's value: random bytes of a subtype that is ours.
UNFIT = Binary(b"\x9d\x1b\x60\xc4unfit\x5e\x8a\xf0\x27\x11", 0xEC)
UNSET = Binary(b"\x9d\x1b\x60\xc4unset\x5e\x8a\xf0\x27\x11", 0xEC)
CONFLICT = Binary(b"\x9d\x1b\x60\xc4conflict\x5e\x8a\xf0", 0xEC)
# What an expression may give besides values, by the name that authors know it by.
_MARKS = {"$$unfit": UNFIT, "$$unset": UNSET}

_TO = {
    "$toBool": "bool", "$toDate": "date", "$toDecimal": "decimal", "$toDouble": "double",
    "$toInt": "int", "$toLong": "long", "$toObjectId": "objectId", "$toString": "string",
}  # fmt: skip
# Sources that the server computes within the statement; all others are looked up before.
COMPUTED = ("value", "expression", "map")
_REMOVE = "$$REMOVE"
Expression = Any


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What may be wrong with a document: an expression that gives the reason, or null."""

    path: str
    policy: str
    why: Expression


@dataclass(kw_only=True)
class Compiled:
    """What an update does.

    Args:
        fields: by the name of a top-level field, what it becomes; missing: it goes.
        faults: what can be wrong.
        loses_fields: whether a top-level field may go, so that its place has to be remembered.
        varies: whether the same document may give something else when asked again.
    """

    fields: dict[str, Expression]
    faults: list[Fault]
    loses_fields: bool
    varies: bool


@dataclass(kw_only=True)
class _Set:
    value: Expression


@dataclass(kw_only=True)
class _Gone:
    unless: Expression = None


@dataclass(kw_only=True)
class _Each:
    tree: _Tree
    remove: Expression = None


@dataclass(kw_only=True)
class _Tree:
    children: dict[str, _Set | _Gone | _Each | _Tree] = field(default_factory=dict)

    def put(self, path: str, item: _Set | _Gone | _Each, where: str) -> None:
        *parents, name = path.split(".")
        node = self
        for parent in parents:
            below = node.children.setdefault(parent, _Tree())
            if not isinstance(below, _Tree):
                raise DefinitionError(f"{where}: '{path}' lies within what another line changes")
            node = below
        if name in node.children:
            raise DefinitionError(
                f"{where}: '{path}' is changed by two lines. Say it in one; in place of `rename` "
                "and `set`, `set` the new name from the old one, and `unset` the old one"
            )
        node.children[name] = item

    def sets(self) -> bool:
        return any(
            isinstance(item, _Set) or (isinstance(item, _Tree) and item.sets())
            for item in self.children.values()
        )


def compile_update(
    options: Mapping[str, Any], *, now: Any, variables: Mapping[str, str], where: str
) -> Compiled:
    """Return what an update with *options* does.

    Args:
        options: of the step.
        now: the instant of the run.
        variables: by the path of a ``set`` whose source is looked up, the variable that holds it.
        where: of the step, for messages.

    Raises:
        DefinitionError: two lines change the same.
    """
    faults: list[Fault] = []
    tree = _Level(
        options=options,
        root="$",
        shown="",
        now=now,
        variables=variables,
        where=where,
        faults=faults,
    ).tree()
    fields = {name: _value(item, f"${name}") for name, item in tree.children.items()}
    return Compiled(
        fields=fields,
        faults=faults,
        loses_fields=any(_may_go(item) for item in tree.children.values()),
        varies=made_once.varies(fields),
    )


def policy_of(options: Mapping[str, Any], path: str) -> str:
    """Return what becomes of a document without a right value for *path*: fail, keep or null."""
    given = options.get("when_unfit", "fail")
    policy = given.get(path, "fail") if isinstance(given, dict) else given
    return "null" if policy is None else str(policy)


def paths(options: Mapping[str, Any]) -> list[str]:
    """Return the paths that *options* change, in their order."""
    found: list[str] = []
    for key, body in options.items():
        if key == "rename":
            for old, new in body.items():
                found += [old, new]
        elif key in ("set", "unset", "each"):
            found += list(body)
    return found


@dataclass(frozen=True, kw_only=True)
class _Level:
    """What is changed at one level: of the document, or of each element of an array.

    Args:
        options: what is changed, and by which policies.
        root: what a path begins with in expressions.
        shown: what it begins with for people.
        now: the instant of the run.
        variables: by shown path, the variable that holds a value that was looked up.
        where: of the step, for messages.
        faults: takes in what can be wrong.
    """

    options: Mapping[str, Any]
    root: str
    shown: str
    now: Any
    variables: Mapping[str, str]
    where: str
    faults: list[Fault]

    def tree(self) -> _Tree:
        tree = _Tree()
        for key, body in self.options.items():
            if key == "rename":
                for old, new in body.items():
                    self._rename(tree, old, new)
            elif key == "set":
                for path, source in body.items():
                    self._set(tree, path, source)
            elif key == "unset":
                for path in body:
                    tree.put(path, _Gone(), self.where)
                    self.faults.extend(self._arrays(path))
            elif key == "each":
                for path, inner in body.items():
                    self._each(tree, path, inner)
        return tree

    def _set(self, tree: _Tree, path: str, source: Mapping[str, Any]) -> None:
        policy = policy_of(self.options, path)
        variable = self.variables.get(self.shown + path)
        raw = _source(source, self.root + path, variable, self.now)
        if path == "_id":
            raw = {"$ifNull": [raw, {"$literal": UNFIT}]}  # of a missing field, mostly
        self.faults.extend(self._faults(raw, path, policy))
        tree.put(path, _Set(value=_settled(raw, self.root + path, policy)), self.where)

    def _each(self, tree: _Tree, path: str, inner: Mapping[str, Any]) -> None:
        kept = ("when_unfit", "when_conflict")
        policies = {key: self.options[key] for key in kept if key in self.options}
        mine: list[Fault] = []
        below = replace(
            self,
            options={**policies, **inner},
            root="$$this.",
            shown=f"{self.shown}{path}.",
            faults=mine,
        )
        item = _Each(tree=below.tree())
        whole = _array(self.root + path)
        if "remove" in inner:
            item.remove = bind_now(inner["remove"], self.now)
            stays = {"$not": [item.remove]}
            whole = {"$filter": {"input": whole, "as": "this", "cond": stays}}
        for fault in mine:
            why = {"$cond": [_IS_DOCUMENT, fault.why, None]}
            found = {"$map": {"input": whole, "as": "this", "in": why}}
            real = {"$filter": {"input": found, "as": "why", "cond": {"$ne": ["$$why", None]}}}
            why = {"$ifNull": [{"$first": real}, None]}
            self.faults.append(replace(fault, why=why))
        self.faults.extend(self._arrays(path))
        tree.put(path, item, self.where)

    def _rename(self, tree: _Tree, old: str, new: str) -> None:
        root, policy = self.root, self.options.get("when_conflict", "fail")
        here, there = present(root, old), present(root, new)
        types = [{"$type": root + old}, {"$type": root + new}]
        equal = {"$and": [{"$eq": [root + old, root + new]}, {"$eq": types}]}
        conflict = {"$and": [here, there, {"$not": [equal]}]}
        if policy == "fail":
            why = {"$cond": [conflict, f"holds another value than {new}", None]}
            self.faults.append(Fault(path=self.shown + old, policy="fail", why=why))
        wins = here if policy == "old" else {"$and": [here, {"$not": [there]}]}
        taken = {"$cond": [wins, root + old, root + new]}
        tree.put(old, _Gone(unless=conflict if policy == "keep" else None), self.where)
        tree.put(new, _Set(value=taken), self.where)
        self.faults.extend(self._faults({"$cond": [here, root + old, _REMOVE]}, new, "fail"))
        self.faults.extend(self._arrays(old))

    def _faults(self, raw: Expression, path: str, policy: str) -> Iterator[Fault]:
        root, shown = self.root, self.shown
        if _may_be_unfit(raw):
            unfit = {"$eq": [raw, {"$literal": UNFIT}]}
            why = {"$cond": [unfit, "there is no right value", None]}
            yield Fault(path=shown + path, policy=policy, why=why)
        parts = path.split(".")
        for number in range(1, len(parts)):
            parent = ".".join(parts[:number])
            odd = {"$not": [{"$in": [{"$type": root + parent}, ["object", "missing"]]}]}
            some = {"$ne": [{"$type": raw}, "missing"]}
            found = {"$and": [*_parents(root, parent), odd, some]}
            what = {
                "$cond": [
                    _is_array(root + parent),
                    _array_text(shown, path, number),
                    f"{shown}{parent} is not a document",
                ]
            }
            why = {"$cond": [found, what, None]}
            kept = "keep" if policy == "null" else policy
            yield Fault(path=shown + path, policy=kept, why=why)

    def _arrays(self, path: str) -> Iterator[Fault]:
        """Yield what is told where a part of *path* is an array, into which no path leads."""
        parts = path.split(".")
        for number in range(1, len(parts)):
            parent = ".".join(parts[:number])
            found = {"$and": [*_parents(self.root, parent), _is_array(self.root + parent)]}
            why = {"$cond": [found, _array_text(self.shown, path, number), None]}
            yield Fault(path=self.shown + path, policy="keep", why=why)


# Whether an element of an array is one, the only kind that is changed.
_IS_DOCUMENT = {"$eq": [{"$type": "$$this"}, "object"]}


def _array_text(shown: str, path: str, number: int) -> str:
    parts = path.split(".")
    array, rest = ".".join(parts[:number]), ".".join(parts[number:])
    return f"{shown}{array} is an array: change {rest} of its elements by each: {{{array}: …}}"


def _is_array(path: str) -> Expression:
    return {"$isArray": [path]}


def _array(path: Expression) -> Expression:
    return {"$cond": [{"$isArray": [path]}, path, []]}


def present(root: str, path: str) -> Expression:
    """Return whether there is something at *path*, each part of which is a document."""
    return {"$and": [*_parents(root, path), {"$ne": [{"$type": root + path}, "missing"]}]}


def _parents(root: str, path: str) -> list[Expression]:
    parts = path.split(".")[:-1]
    return [
        {"$eq": [{"$type": root + ".".join(parts[: n + 1])}, "object"]} for n in range(len(parts))
    ]


def _source(spec: Mapping[str, Any], path: str, variable: str | None, now: Any) -> Expression:
    """Return the expression of a source, which may give UNFIT."""
    ((kind, body),) = spec.items()
    if kind == "value":
        return {"$literal": bind_now(body, now)}
    if kind == "expression":
        return guarded(bind_now(body, now))
    if kind == "map":
        return _map(bind_now(body, now), path)
    return f"$${variable}"


def _map(spec: Mapping[str, Any], path: str) -> Expression:
    given = {"$ifNull": [spec.get("input", path), None]}
    branches = [
        {"case": {"$in": [given, [{"$literal": one} for one in case["from"]]]},
         "then": {"$literal": case["to"]}}
        for case in spec["cases"]
    ]  # fmt: skip
    if spec.get("keep"):
        same = {"$in": [given, [{"$literal": one} for one in spec["keep"]]]}
        branches.append({"case": same, "then": given})
    default: Expression = {"$literal": UNFIT}
    if "otherwise" in spec:
        ((kind, body),) = spec["otherwise"].items()
        default = {"$literal": body} if kind == "value" else guarded(body)
    return {"$switch": {"branches": branches, "default": default}}


def guarded(expression: Expression) -> Expression:
    """Return *expression* so that a conversion that fails gives UNFIT where that is the result."""
    if isinstance(expression, str) and expression in _MARKS:
        return {"$literal": _MARKS[expression]}
    if not isinstance(expression, dict) or len(expression) != 1:
        return expression
    ((operator, body),) = expression.items()
    if operator in _TO:
        one = body[0] if isinstance(body, list) and len(body) == 1 else body
        return {"$convert": {"input": one, "to": _TO[operator], "onError": {"$literal": UNFIT}}}
    if operator == "$cond" and isinstance(body, list):
        return {operator: [body[0], *map(guarded, body[1:])]}
    if operator == "$ifNull" and isinstance(body, list):
        return {operator: list(map(guarded, body))}
    return {operator: _guarded_parts(operator, body)} if isinstance(body, dict) else expression


def _guarded_parts(operator: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the named parts of an operator, those that may be the result guarded."""
    if operator in ("$convert", "$dateFromString"):
        return {"onError": {"$literal": UNFIT}, **body}
    results = {"$cond": ("then", "else"), "$switch": ("default",), "$let": ("in",)}
    named = results.get(operator, ())
    found = {key: guarded(part) if key in named else part for key, part in body.items()}
    if operator == "$switch":
        found["branches"] = [{**one, "then": guarded(one["then"])} for one in body["branches"]]
    return found


def _may_be_unfit(expression: Expression) -> bool:
    return _holds(expression, UNFIT)


def _may_go(item: _Set | _Gone | _Each | _Tree) -> bool:
    """Return whether a field may go."""
    return isinstance(item, _Gone) or (isinstance(item, _Set) and _holds(item.value, UNSET))


def _holds(expression: Expression, mark: Binary) -> bool:
    if isinstance(expression, dict):
        return any(_holds(part, mark) for part in expression.values())
    if isinstance(expression, list):
        return any(_holds(part, mark) for part in expression)
    return isinstance(expression, Binary) and expression == mark


def _settled(raw: Expression, path: str, policy: str) -> Expression:
    """Return *raw* as it is written: nothing leaves the field alone, UNFIT goes by the policy."""
    if isinstance(raw, dict) and set(raw) == {"$literal"} and raw["$literal"] not in (UNFIT, UNSET):
        return raw
    chosen: Expression = {"$cond": [{"$eq": [{"$type": "$$new"}, "missing"]}, path, "$$new"]}
    if _may_be_unfit(raw):
        instead = None if policy == "null" else path
        chosen = {"$cond": [{"$eq": ["$$new", {"$literal": UNFIT}]}, instead, chosen]}
    if _holds(raw, UNSET):
        chosen = {"$cond": [{"$eq": ["$$new", {"$literal": UNSET}]}, _REMOVE, chosen]}
    return {"$let": {"vars": {"new": raw}, "in": chosen}}


def _value(item: _Set | _Gone | _Each | _Tree, path: str) -> Expression:
    if isinstance(item, _Set):
        return item.value
    if isinstance(item, _Gone):
        return _REMOVE if item.unless is None else {"$cond": [item.unless, path, _REMOVE]}
    if isinstance(item, _Each):
        source: Expression = path
        if item.remove is not None:
            stays = {"$not": [item.remove]}
            source = {"$filter": {"input": path, "as": "this", "cond": stays}}
        mapped: Expression = source
        if item.tree.children:
            inner = _changed(item.tree, "$$this", "$$this.")
            each = {"$cond": [_IS_DOCUMENT, inner, "$$this"]}
            mapped = {"$map": {"input": source, "as": "this", "in": each}}
        return {"$cond": [{"$isArray": [path]}, mapped, path]}
    return _document(item, path)


def _document(tree: _Tree, path: str) -> Expression:
    """Return the document at *path* with its changes; one that isn't there may come to be."""
    branches = [{"case": {"$eq": [{"$type": path}, "object"]},
                 "then": _changed(tree, path, f"{path}.")}]  # fmt: skip
    if tree.sets():
        made = _changed(tree, {"$literal": {}}, f"{path}.")
        chosen = {"$cond": [{"$eq": ["$$made", {"$literal": {}}]}, _REMOVE, "$$made"]}
        branches.append(
            {
                "case": {"$eq": [{"$type": path}, "missing"]},
                "then": {"$let": {"vars": {"made": made}, "in": chosen}},
            }
        )
    return {"$switch": {"branches": branches, "default": path}}


def _changed(tree: _Tree, base: Expression, root: str) -> Expression:
    for name, item in tree.children.items():
        value = _value(item, root + name)
        base = {"$setField": {"field": {"$literal": name}, "input": base, "value": value}}
    return base
