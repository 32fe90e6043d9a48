"""A template that reads a key by a dot gets a method where one has that name."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_EXPRESSION = re.compile(r"{{.*?}}|{%.*?%}", re.DOTALL)
_METHOD = re.compile(r"\.(?:clear|copy|fromkeys|get|items|keys|pop|popitem|update|values)\b(?!\()")


def offenders(text: str) -> list[str]:
    return [
        expression
        for expression in _EXPRESSION.findall(text)
        # Not what stands in quotes, such as the name of a file.
        if _METHOD.search(re.sub(r"'[^']*'", "''", expression))
    ]


def test_no_template_reads_a_method_for_a_key():
    found = {
        str(path.relative_to(ROOT)): wrong
        for folder in ("roles", "playbooks", "plugins")
        for ending in ("*.j2", "*.yml")
        for path in (ROOT / folder).rglob(ending)
        if (wrong := offenders(path.read_text(encoding="utf-8")))
    }
    assert found == {}


def test_it_would_be_seen():
    assert offenders("into {{ found.copy }}") == ["{{ found.copy }}"]
    assert offenders("{% for one in found.items %}") == ["{% for one in found.items %}"]
    assert offenders("{{ found.items() }} {{ found['copy'] }} {{ 'a.copy' }}") == []
