"""What is installed and fetched is pinned by hashes, and its licences are told."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import ansible
import pytest
from mongo_migration.ledger import state_format
from mongo_migration.support import requirements
from packaging.requirements import Requirement

from authoring import compatibility
from embedded import tools
from tests.support.playbooks import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_ENTRY = re.compile(r"^([\w.-]+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.M)


def name(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def locked() -> dict[str, str]:
    text = (ROOT / "requirements.lock").read_text()
    found = {name(match[1]): match[2] for match in _ENTRY.finditer(text)}
    assert len(found) == text.count("=="), "each requirement has a version and hashes"
    return found


def test_the_lock_holds_what_the_project_asks_for():
    asked = [*PROJECT["dependencies"]]
    for more in PROJECT["optional-dependencies"].values():
        asked += more
    lock = locked()

    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(lock[name(requirement.name)]), requirement


def test_the_lock_names_no_registry_and_no_folder():
    text = (ROOT / "requirements.lock").read_text()

    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text
    assert "/opt" not in text


def test_wheels_alone_are_installed_with_their_hashes():
    make = (ROOT / "Makefile").read_text()

    assert "--require-hashes --only-binary :all: --requirement requirements.lock" in make


def test_every_package_of_npm_has_its_hash_and_runs_no_script():
    lock = json.loads((ROOT / "embedded" / "npm" / "package-lock.json").read_text())
    wanted = json.loads((ROOT / "embedded" / "npm" / "package.json").read_text())["dependencies"]

    assert lock["packages"][""]["dependencies"] == wanted
    for path, package in lock["packages"].items():
        if path:
            assert package["integrity"].startswith("sha512-")
            assert "hasInstallScript" not in package
            assert "resolved" not in package
    source = (ROOT / "embedded" / "tools.py").read_text()
    assert source.count('"npm", ') == source.count('"--ignore-scripts"') == 2
    assert tools.FETCHERS


def test_the_licence_of_everything_fetched_is_told():
    notice = name((ROOT / "NOTICE").read_text())
    lock = json.loads((ROOT / "embedded" / "npm" / "package-lock.json").read_text())
    fetched = [*locked(), *(path.rpartition("/")[2] for path in lock["packages"] if path)]
    fetched += [wheel.partition("==")[0] for wheel, _hash in tools._MONGOD]

    assert [package for package in fetched if name(package) not in notice] == []
    assert "server-side-public-license" in notice


def test_the_version_has_a_heading_in_the_changelog():
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()
    assert PROJECT["version"] == state_format.ENGINE
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_a_host_is_told_of_the_ranges_that_the_project_asks_for():
    asked = {name(Requirement(each).name): each for each in PROJECT["dependencies"]}

    for wanted in requirements.LIBRARIES.values():
        assert asked[name(Requirement(wanted).name)] == wanted
    # What only the controller needs: it runs the playbooks, and signs the evidence.
    told = {name(Requirement(each).name) for each in requirements.LIBRARIES.values()}
    assert set(asked) - told == {"ansible-core", "cryptography"}
    assert PROJECT["requires-python"] == ">={}.{}".format(*requirements.PYTHON)


def test_all_that_is_missing_is_named_with_one_command(monkeypatch):
    monkeypatch.setattr(requirements, "find_spec", lambda name: None if name[0] in "px" else name)

    said = requirements.problem()

    assert "lacks pymongo, xxhash, pyrage, prometheus-client" in said
    assert (
        f"{sys.executable} -m pip install 'pymongo>=4.10,<5' 'xxhash>=3.4,<5' 'pyrage>=1.2.1,<2' "
        "'prometheus-client>=0.20,<1' ;" in said
    )


OLD = compatibility.find_python("3.9") or compatibility.find_python("3.10")
needs_an_old_one = pytest.mark.skipif(OLD is None, reason="there is no Python 3.9 or 3.10 here")


@needs_an_old_one
def test_an_older_python_refuses_before_anything_else():
    done = run_as_ansible_does("mongo_migrate")

    said = json.loads(done.stdout)["msg"]
    assert "the migration engine needs 3.11 or later. Nothing was changed." in said
    assert "python3.11 -m venv" in said
    for module in (ROOT / "library").glob("mongo_*.py"):
        engine = re.findall(
            r"^from ansible.module_utils.mongo_migration.*$", module.read_text(), re.M
        )
        assert engine[0].endswith("import module_runner") or module.stem == "mongo_monitor_app"


@needs_an_old_one
@pytest.mark.parametrize("module", ["app_maintenance", "http_watch", "mongo_monitor_app"])
def test_modules_of_application_hosts_run_on_an_older_python(module):
    done = run_as_ansible_does(module)

    # They came as far as their arguments, of which they got none.
    assert "missing required arguments" in done.stdout, done.stderr


def run_as_ansible_does(module):
    script = (
        "import sys, runpy, types, importlib.util as u\n"
        "import ansible.module_utils as m\n"
        f"m.__path__.append({str(ROOT / 'plugins' / 'module_utils')!r})\n"
        "import ansible.module_utils.basic as b\n"
        "b._ANSIBLE_ARGS = b'{\"ANSIBLE_MODULE_ARGS\": {}}'\n"
        "b._ANSIBLE_PROFILE = 'legacy'\n"
        f"runpy.run_path({str(ROOT / 'library' / f'{module}.py')!r}, run_name='__main__')\n"
    )
    core = Path(ansible.__file__).parents[1]
    return subprocess.run(
        [OLD, "-B", "-c", f"import sys; sys.path.insert(0, {str(core)!r})\n{script}"],
        capture_output=True,
        text=True,
        check=False,
    )
