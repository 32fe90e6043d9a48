"""``checks.xml``: the checks of the data in the format of JUnit, which every CI server reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

from mongo_migration.support import neutral

from . import record


def render(folder: Path) -> str:
    """Return the checks of ``verification.json`` as a test suite; empty if there were none."""
    verification = record.read_json(folder / "verification.json")
    checks = verification.get("checks")
    if not checks:
        return ""
    run = record.read(folder)
    name = f"{run.get('action')} {run.get('migration') or ''}".strip()
    failures = sum(check.get("status") == "failed" for check in checks)
    skipped = sum(check.get("status") not in ("passed", "failed") for check in checks)
    suite = Xml.Element(
        "testsuite",
        name=_clean(f"{name} on {run.get('database')} ({run.get('deployment')})"),
        tests=str(len(checks)),
        failures=str(failures),
        errors="0",
        skipped=str(skipped),
        timestamp=str(run.get("started") or ""),
        time=str(verification.get("elapsed") or 0),
    )
    for check in checks:
        suite.append(_case(check, name))
    suites = Xml.Element("testsuites")
    suites.append(suite)
    Xml.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + Xml.tostring(suites, encoding="unicode")


def _case(check: Mapping[str, Any], name: str) -> Xml.Element:
    title = _clean(check.get("name"))
    case = Xml.Element("testcase", classname=_clean(name), name=title)
    if check.get("status") == "failed":
        message = f"expected {check.get('expected')}, observed {check.get('observed')}"
        failure = Xml.SubElement(case, "failure", message=_clean(message))
        failure.text = _clean(check.get("detail"))
    elif check.get("status") != "passed":
        Xml.SubElement(case, "skipped", message=_clean(check.get("detail") or check.get("status")))
    output = Xml.SubElement(case, "system-out")
    output.text = f"examined {check.get('examined')}"
    return case


def _clean(value: Any) -> str:
    """Return *value* as text that XML can hold: control characters are written out."""
    return neutral.terminal(value or "")
