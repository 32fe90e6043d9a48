"""What `ansible-doc` says of each module is what the module does."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import ansible.module_utils
import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from tests.support.playbooks import BIN, ROOT, environment

MODULES = sorted(path.stem for path in (ROOT / "library").glob("*.py"))

# What ansible-doc adds or shows in its own way, beside what an argument spec can say.
_COMPARED = ("type", "default", "choices", "required", "elements", "aliases")
_ABSENT: dict[str, Any] = {
    "type": "str",
    "default": None,
    "choices": [],
    "required": False,
    "elements": None,
    "aliases": [],
}
_TYPES: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "float": (float, int),
    "bool": bool,
    "list": list,
    "dict": dict,
    "path": str,
    "raw": object,
}
_PASSED_ON = ("mutually_exclusive", "required_together", "required_one_of", "required_if")


class Built(Exception):  # noqa: N818
    """Raised in place of making the AnsibleModule that a module asks for."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        super().__init__()
        self.arguments = arguments


def refuse_to_build(**arguments: Any) -> None:
    raise Built(arguments)


@pytest.fixture(autouse=True)
def module_utils(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the modules find the engine where Ansible would put it."""
    engine = str(ROOT / "plugins" / "module_utils")
    monkeypatch.setattr(ansible.module_utils, "__path__", [*ansible.module_utils.__path__, engine])


@cache
def documentation() -> dict[str, Any]:
    """Return what ansible-doc says, asked once for all modules since it starts slowly."""
    done = subprocess.run(
        [str(BIN / "ansible-doc"), "--json", "--type", "module", *MODULES],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@cache
def built(name: str) -> dict[str, Any]:
    """Return the arguments that module *name* gives to AnsibleModule."""
    spec = importlib.util.spec_from_file_location(
        f"library_{name}", ROOT / "library" / f"{name}.py"
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.AnsibleModule = refuse_to_build  # type: ignore[attr-defined]
    try:
        module.main()
    except Built as done:
        return done.arguments
    raise AssertionError(f"{name} didn't build an AnsibleModule")


def comparable(option: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: option.get(key, _ABSENT[key]) for key in _COMPARED}
    found["aliases"] = sorted(found["aliases"])
    return found


def options_of(spec: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the options of an argument spec, those of dicts too, by their paths."""
    found: dict[str, Any] = {}
    for name, option in spec.items():
        found[f"{prefix}{name}"] = comparable(option)
        found |= options_of(option.get("options") or {}, f"{prefix}{name}.")
    return found


def documented_options_of(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, option in options.items():
        found[f"{prefix}{name}"] = comparable(option)
        found |= documented_options_of(option.get("suboptions") or {}, f"{prefix}{name}.")
    return found


def returns_of(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        yield f"{prefix}{name}", value
        yield from returns_of(value.get("contains") or {}, f"{prefix}{name}.")


def examples_of(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(documentation()[name]["examples"])
    return found


def test_there_are_modules() -> None:
    assert "mongo_migrate" in MODULES


@pytest.mark.parametrize("name", MODULES)
def test_the_documented_options_are_the_argument_spec(name: str) -> None:
    documented = documented_options_of(documentation()[name]["doc"]["options"])

    assert documented == options_of(built(name)["argument_spec"])


@pytest.mark.parametrize("name", MODULES)
def test_every_option_is_described(name: str) -> None:
    for option, said in documentation()[name]["doc"]["options"].items():
        assert said["description"], option


@pytest.mark.parametrize("name", MODULES)
def test_the_module_says_how_it_behaves_and_what_it_needs(name: str) -> None:
    doc = documentation()[name]["doc"]

    assert doc["short_description"]
    assert not doc["short_description"].endswith(".")
    assert doc["requirements"]
    assert any("user needs" in note for note in doc["notes"]), "which roles does the user need?"
    assert {"check_mode", "diff_mode", "idempotent"} <= set(doc["attributes"])
    supported = doc["attributes"]["check_mode"]["support"] in ("full", "partial")
    assert built(name)["supports_check_mode"] is supported


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_are_valid_tasks(name: str) -> None:
    arguments = built(name)
    spec = arguments["argument_spec"]
    validator = ArgumentSpecValidator(
        spec,
        **{key: arguments[key] for key in (*_PASSED_ON, "required_by") if key in arguments},
    )
    examples = examples_of(name)
    assert examples
    for task in examples:
        assert task["name"][0].isupper()
        values = {}
        for option, value in task[name].items():
            kind = spec.get(option, {}).get("type", "str")
            # A template has its type only when Ansible has filled it in.
            template = isinstance(value, str) and "{{" in value
            if not (template and kind not in ("str", "path", "raw")):
                values[option] = value
        result = validator.validate(values)
        assert not result.error_messages, f"{task['name']}: {result.error_messages}"


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_hold_no_secret(name: str) -> None:
    secret = {
        key
        for option, said in built(name)["argument_spec"].items()
        if said.get("no_log")
        for key in (option, *said.get("aliases", ()))
    }
    for task in examples_of(name):
        for option in secret & set(task[name]):
            assert task[name][option].startswith("{{"), f"{task['name']}: {option}"


@pytest.mark.parametrize("name", MODULES)
def test_options_that_hold_a_secret_are_not_logged(name: str) -> None:
    for option, said in built(name)["argument_spec"].items():
        if option.endswith(("uri", "password", "passphrase", "secret", "token")):
            assert said.get("no_log") is True, option


@pytest.mark.parametrize("name", MODULES)
def test_every_result_is_described_with_a_sample(name: str) -> None:
    results = documentation()[name]["return"]
    assert results
    for path, value in returns_of(results):
        assert value.get("description"), path
        assert value.get("returned"), path
        assert value["type"] in _TYPES, path
        if value["type"] == "list":
            assert value.get("elements") in _TYPES, path
        assert "sample" in value or "contains" in value, path


@pytest.mark.parametrize("name", MODULES)
def test_every_sample_has_the_documented_type(name: str) -> None:
    for path, value in returns_of(documentation()[name]["return"]):
        if "sample" not in value:
            continue
        assert isinstance(value["sample"], _TYPES[value["type"]]), path
        for element in value["sample"] if value["type"] == "list" else ():
            assert isinstance(element, _TYPES[value["elements"]]), path


def wiring(source: str) -> int:
    """Return how many lines the functions of a module have; main() holds the argument spec."""
    return sum(
        (node.end_lineno or 0) - node.lineno + 1
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.name != "main"
    )


@pytest.mark.parametrize("name", MODULES)
def test_the_module_is_a_file_that_only_wires(name: str) -> None:
    assert wiring((ROOT / "library" / f"{name}.py").read_text()) <= 110


def test_a_module_that_does_more_than_wire_would_be_noticed() -> None:
    body = "    pass\n" * 60
    assert wiring(f'X = 1\ndef a():\n{body}def b():\n    """Doc."""\n{body}') == 123
