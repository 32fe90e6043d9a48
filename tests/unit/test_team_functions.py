"""What a function of the team gives is a value, or is said of the document; it ends nothing."""

from __future__ import annotations

import pytest
from mongo_migration.document import update_sources
from mongo_migration.document.value_sources import Unresolved
from mongo_migration.errors import DefinitionError

BODIES = {
    "a circle": ("a = []; a.append(a); return a", "RecursionError"),
    "without end": ("return f(x)", "RecursionError"),
    "a set": ("return {1}", "InvalidDocument"),
    "a generator": ("return (each for each in [1])", "InvalidDocument"),
    "a large number": ("return 10 ** 40", "OverflowError"),
    "half a character": ("return chr(0xD800)", "UnicodeEncodeError"),
    "a name that is a number": ("return {1: 2}", "InvalidDocument"),
    "a name with a NUL": ("return {chr(0): 2}", "InvalidDocument"),
    "the end of the process": ("raise SystemExit(0)", "SystemExit"),
    "no memory": ("raise MemoryError", "MemoryError"),
}


def source(body: str) -> update_sources.Python:
    spec = {"file": "f.py", "function": "f", "inputs": ["$a"]}
    return update_sources.Python(spec, {"f.py": f"def f(x):\n    {body}\n"})


@pytest.mark.parametrize(("body", "reason"), BODIES.values(), ids=BODIES)
def test_what_is_no_value_is_said_of_the_document(body: str, reason: str) -> None:
    (found,) = source(body).find([[1]])

    assert isinstance(found, Unresolved)
    assert f"f.py: f raised {reason}" in found.reason


def test_a_file_that_ends_the_process_is_named() -> None:
    with pytest.raises(DefinitionError, match=r"f\.py: SystemExit"):
        update_sources.function({"f.py": "raise SystemExit(0)"}, "f.py", "f")


def test_what_a_function_says_or_opens_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    for body in ("print(x); return x", "return open('/etc/hostname').read()", "return input()"):
        (found,) = source(body).find([[1]])
        assert isinstance(found, Unresolved)
        assert "it calls print, input, open or breakpoint" in found.reason
    assert capfd.readouterr().out == ""


def test_values_of_no_type_are_counted_together() -> None:
    one, other = source("return object()").find([[1], [2]])
    assert isinstance(one, Unresolved) and one == other


@pytest.mark.parametrize(
    ("text", "inputs", "says"),
    [
        ("def f(a, b): return a", ["$a"], "f(a, b) doesn't fit: missing a required argument: 'b'"),
        ("def f(title): return title", {"titel": "$a"}, "(inputs titel)"),
        ("def f(): return 1", ["$a"], "too many positional arguments"),
        ("def f(a):\n    yield a", ["$a"], "is a generator or async"),
        ("async def f(a):\n    return a", ["$a"], "is a generator or async"),
    ],
)
def test_a_function_that_cannot_be_called_is_refused_before_any_document(
    text: str, inputs: object, says: str
) -> None:
    spec = {"file": "f.py", "function": "f", "inputs": inputs}
    with pytest.raises(DefinitionError) as refused:
        update_sources.Python(spec, {"f.py": text})
    assert says in str(refused.value)
