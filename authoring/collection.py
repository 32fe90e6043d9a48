"""Make an installable Ansible collection out of the very files that also run from a checkout.

A checkout names its modules, plugins and playbooks shortly, since ansible.cfg says where they lie.
A collection is found wherever it is installed, by full names alone. So this copies the files and
writes full names into the copies. Nothing is kept twice, and nothing here knows what a file does.
"""

from __future__ import annotations

import argparse
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
NAMESPACE, NAME = "migration_playbooks", "mongodb"
FULL = f"{NAMESPACE}.{NAME}"
# Those that the compatibility table names.
_ANSIBLES = ("2.16", "2.17", "2.18", "2.19", "2.20", "2.21")
_TEMPLATES = Path(__file__).parent / "galaxy"
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".*_cache")
# A checkout keeps its evidence in its own folder, and has its revision. An installed collection is
# no place to write to, and what is under revision there are the team's own documents.
_IN_A_CHECKOUT = {
    "roles/change_gate/defaults/main.yml": {
        'change_gate_project: "{{ playbook_dir | dirname }}"': (
            'change_gate_project: "{{ migrations_folder }}"'
        ),
        "default(playbook_dir | dirname ~ '/evidence', true)": (
            "default(lookup('ansible.builtin.env', 'HOME') ~ '/migration-evidence', true)"
        ),
    },
    "roles/evidence/defaults/main.yml": {
        'evidence_root: "{{ playbook_dir | dirname }}/evidence"': (
            "evidence_root: \"{{ lookup('ansible.builtin.env', 'HOME') }}/migration-evidence\""
        ),
    },
}


def main() -> int:
    """Build the collection, and pack it unless told not to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=ROOT / "build" / "collection")
    parser.add_argument("--no-archive", action="store_true", help="make the folder only")
    given = parser.parse_args()
    folder = build(given.into)
    if given.no_archive:
        print(folder)
        return 0
    command = [str(Path(sys.executable).with_name("ansible-galaxy")), "collection", "build"]
    return subprocess.run(
        [*command, "--force", "--output-path", str(given.into), str(folder)], check=False
    ).returncode


def build(into: Path) -> Path:
    """Write the collection below *into*, and return its folder.

    The folder's parents make it a place that ``ANSIBLE_COLLECTIONS_PATH`` can name.

    Raises:
        ValueError: a line that has to differ from the checkout's isn't where it was.
    """
    folder = into / "ansible_collections" / NAMESPACE / NAME
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    shutil.copytree(ROOT / "plugins", folder / "plugins", symlinks=True, ignore=_LEFT_OUT)
    shutil.copytree(
        ROOT / "library", folder / "plugins" / "modules", symlinks=True, ignore=_LEFT_OUT
    )
    for name in ("roles", "playbooks", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=_left_out)
    for name in ("LICENSE", "NOTICE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder / name)
    _without_hyphens(folder / "playbooks")
    _replace_lines(folder)
    _write_full_names(folder)
    _describe(folder)
    return folder


def _left_out(folder: str, names: list[str]) -> set[str]:
    """Return what isn't copied: also the links by which a checkout finds its plugins anywhere."""
    links = {name for name in names if Path(folder, name).is_symlink()}
    return {*_LEFT_OUT(folder, names), *links}


def _without_hyphens(playbooks: Path) -> None:
    """Rename playbooks: a full name is made of identifiers."""
    for file in sorted(playbooks.glob("*-*.yml")):
        file.rename(file.with_name(file.name.replace("-", "_")))


def _replace_lines(folder: Path) -> None:
    for name, replacements in _IN_A_CHECKOUT.items():
        file = folder / name
        text = file.read_text()
        for old, new in replacements.items():
            if text.count(old) != 1:
                raise ValueError(f"{name} has no line {old!r} any more: see {__file__}")
            text = text.replace(old, new)
        file.write_text(text)


def _write_full_names(folder: Path) -> None:
    names = Names(folder)
    for file in (folder / "plugins").rglob("*.py"):
        if not file.is_symlink():
            _rewrite(file, names.in_python)
    for part in ("roles", "playbooks"):
        for file in (*(folder / part).rglob("*.yml"), *(folder / part).rglob("*.j2")):
            if file.name != "argument_specs.yml":  # its keys are variables
                _rewrite(file, names.in_yaml)


def _rewrite(file: Path, by: Callable[[str], str]) -> None:
    text = file.read_text()
    changed = by(text)
    if changed != text:
        file.write_text(changed)


class Names:
    """The short names of a collection's folder, and how they are written in full."""

    def __init__(self, folder: Path) -> None:
        plugins = folder / "plugins"
        self._modules = _any_of(_stems(plugins / "modules") | _stems(plugins / "action"))
        self._lookups = _any_of(_stems(plugins / "lookup"))
        self._filters = _any_of(_filters(plugins / "filter"))
        self._fragments = _any_of(_stems(plugins / "doc_fragments"))
        self._packages = _any_of(
            path.name for path in (plugins / "module_utils").iterdir() if path.is_dir()
        )
        self._roles = _any_of(path.name for path in (folder / "roles").iterdir())

    def in_yaml(self, text: str) -> str:
        """Return the text of a playbook, of a role's file or of a template in full names."""
        # Indented, as in a task: at the margin stands a variable, which may be called alike.
        text = re.sub(rf"^(\s+(?:- )?){self._modules}:", rf"\1{FULL}.\2:", text, flags=re.M)
        text = re.sub(rf"\b(lookup|query)\('{self._lookups}'", rf"\1('{FULL}.\2'", text)
        text = re.sub(rf"\|(\s*){self._filters}\b", rf"|\1{FULL}.\2", text)
        text = re.sub(rf"map\('{self._filters}'", rf"map('{FULL}.\1'", text)
        text = re.sub(
            rf"((?:include|import)_role:\n\s+name: |- role: ){self._roles}$",
            rf"\1{FULL}.\2",
            text,
            flags=re.M,
        )
        return re.sub(r"(import_playbook: .*)", lambda match: _underscored(match[1]), text)

    def in_python(self, text: str) -> str:
        """Return the text of a module or plugin in full names."""
        text = re.sub(
            rf"^(\s*from )ansible\.module_utils\.{self._packages}\b",
            rf"\1ansible_collections.{FULL}.plugins.module_utils.\2",
            text,
            flags=re.M,
        )
        text = re.sub(rf'(_loader\.get\("){self._modules}"', rf'\1{FULL}.\2"', text)
        text = re.sub(rf"\bM\({self._modules}\)", rf"M({FULL}.\1)", text)
        text = re.sub(rf"^(\s+- module: ){self._modules}$", rf"\1{FULL}.\2", text, flags=re.M)
        return re.sub(
            rf"^(extends_documentation_fragment:.*|\s+- ){self._fragments}((?:\.\w+)?)$",
            rf"\1{FULL}.\2\3",
            text,
            flags=re.M,
        )


def _underscored(text: str) -> str:
    return re.sub(r"\b[a-z]+(?:-[a-z]+)+\.yml", lambda match: match[0].replace("-", "_"), text)


def _stems(folder: Path) -> set[str]:
    return {file.stem for file in folder.glob("*.py")}


def _filters(folder: Path) -> set[str]:
    """Return the names of the filters, which a file may have several of."""
    found = (runpy.run_path(str(file))["FilterModule"]().filters() for file in folder.glob("*.py"))
    return {name for names in found for name in names}


def _any_of(names: Iterable[str]) -> str:
    return f"({'|'.join(sorted(names, key=len, reverse=True))})"


def _describe(folder: Path) -> None:
    """Write what Galaxy and ansible-core read of a collection."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    galaxy = {
        "namespace": NAMESPACE,
        "name": NAME,
        "version": project["version"],
        "readme": "README.md",
        "authors": ["The migration playbooks' authors"],
        "description": project["description"],
        "license_file": "LICENSE",
        "tags": ["database", "mongodb", "migration", "backup"],
        "dependencies": {},
        "build_ignore": [],
    }
    (folder / "galaxy.yml").write_text(yaml.safe_dump(galaxy, sort_keys=False))
    modules = sorted(_stems(folder / "plugins" / "modules"))
    runtime = {
        "requires_ansible": ">=2.16.0",
        "action_groups": {"mongodb": [name for name in modules if name.startswith("mongo_")]},
    }
    (folder / "meta").mkdir()
    (folder / "meta" / "runtime.yml").write_text("---\n" + yaml.safe_dump(runtime, sort_keys=False))
    shutil.copy(_TEMPLATES / "README.md", folder / "README.md")
    _except_from_sanity(folder)
    needed = [line for line in project["dependencies"] if not line.startswith("ansible-core")]
    (folder / "requirements.txt").write_text("\n".join(needed) + "\n")


def _except_from_sanity(folder: Path) -> None:
    """Say which of Ansible's rules don't hold here, and why, where ansible-test looks for it.

    Its rule on licences is that of collections under the GPL; this project is under Apache-2.0.
    ``state: list`` and the alias ``message`` are of version 1.0 and stay until 2.0. The module of
    the gate documents what its action does on the controller, with the engine beside it.
    """
    plugins = folder / "plugins"
    files = [
        file.relative_to(folder)
        for kind in ("modules", "callback", "lookup")
        for file in sorted((plugins / kind).iterdir())
        if file.suffix in (".py", ".yml")
    ]
    lines = [f"{file} validate-modules:missing-gplv3-license" for file in files]
    lines += [
        "plugins/modules/mongo_backup.py validate-modules:parameter-state-invalid-choice",
        "plugins/modules/announce_webhook.py validate-modules:invalid-argument-name",
        "plugins/modules/change_gate_check.py validate-modules:import-error",
    ]
    (folder / "tests" / "sanity").mkdir(parents=True)
    for version in _ANSIBLES:
        (folder / "tests" / "sanity" / f"ignore-{version}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
