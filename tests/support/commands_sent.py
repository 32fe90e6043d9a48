"""Which commands of the server the engine's code sends, read from the code itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.playbooks import ROOT

PAGE = ROOT / "docs" / "sharding.md"

# The driver's methods, by the command that each sends.
_METHODS = {
    "aggregate": "aggregate",
    "aggregate_raw_batches": "aggregate",
    "count_documents": "aggregate",
    "watch": "aggregate",
    "estimated_document_count": "count",
    "create_collection": "create",
    "create_index": "createIndexes",
    "create_indexes": "createIndexes",
    "delete_many": "delete",
    "delete_one": "delete",
    "distinct": "distinct",
    "drop_collection": "drop",
    "drop_database": "dropDatabase",
    "drop_index": "dropIndexes",
    "drop_indexes": "dropIndexes",
    "find": "find",
    "find_one": "find",
    "find_raw_batches": "find",
    "find_one_and_delete": "findAndModify",
    "find_one_and_replace": "findAndModify",
    "find_one_and_update": "findAndModify",
    "insert_many": "insert",
    "insert_one": "insert",
    "index_information": "listIndexes",
    "list_indexes": "listIndexes",
    "list_collection_names": "listCollections",
    "list_collections": "listCollections",
    "list_database_names": "listDatabases",
    "list_databases": "listDatabases",
    "replace_one": "update",
    "update_many": "update",
    "update_one": "update",
    "start_transaction": "commitTransaction",
    "commit_transaction": "commitTransaction",
    "abort_transaction": "abortTransaction",
    "server_info": "buildInfo",
    "validate_collection": "validate",
}
# Stages of an aggregation that are more than reading the documents of their collection.
_STAGES = {
    *("$changeStream", "$collStats", "$currentOp", "$documents", "$graphLookup", "$indexStats"),
    *("$listLocalSessions", "$listSessions", "$lookup", "$merge", "$out", "$planCacheStats"),
    *("$sample", "$unionWith"),
}
# `.command(...)` of these isn't the driver's.
_OURS = {"commands", "suggested"}
# As a command's document begins: one key, whose value is a collection's name or 1.
_SENT = {
    *("collMod", "convertToCapped", "create", "createIndexes", "delete", "drop", "dropIndexes"),
    *("find", "getMore", "insert", "killCursors", "listCollections", "listIndexes"),
    *("renameCollection", "setUserWriteBlockMode", "update", "serverStatus", "connectionStatus"),
}


def on_the_page() -> set[str]:
    """Return the commands in the first cells of the tables of docs/sharding.md."""
    rows = re.findall(r"^\| ([^|]+) \|", PAGE.read_text(), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([$\w]+)`", row)}


def commands(folder: Path) -> set[str]:
    """Return the commands and stages that the Python files of *folder* send."""
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            found.update(_of(node))
    return found


def _of(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Dict):
        named = [key.value for key in node.keys if isinstance(key, ast.Constant)]
        yield from _STAGES.intersection(name for name in named if isinstance(name, str))
        if named and isinstance(named[0], str) and named[0] in _SENT:
            yield named[0]
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return
    if node.func.attr in _METHODS:
        yield _METHODS[node.func.attr]
    if node.func.attr != "command" or ast.unparse(node.func.value) in _OURS or not node.args:
        return
    given = node.args[0]
    if isinstance(given, ast.Dict) and given.keys:
        given = given.keys[0] or given
    if isinstance(given, ast.Constant) and isinstance(given.value, str):
        yield given.value


def not_told(folder: Path) -> set[str]:
    """Return where a command is sent that only its caller, or a name, knows: ``file:function``."""
    found = set()
    for path in folder.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                hidden = (node for node in ast.walk(function) if _is_hidden(node))
                found |= {f"{path.relative_to(folder)}:{function.name}" for _ in hidden}
    return found


def _is_hidden(node: ast.AST) -> bool:
    sends = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    if not sends or node.func.attr != "command" or ast.unparse(node.func.value) in _OURS:  # type: ignore[attr-defined]
        return False
    return not list(_of(node))
