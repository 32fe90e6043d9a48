"""What is installed and fetched is pinned by hashes, and its licences are told."""

from __future__ import annotations

import json
import re
import tomllib

from mongo_migration.ledger import state_format

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

    for requirement in asked:
        package, _equals, version = requirement.partition("==")
        assert name(package) in lock
        assert version in ("", lock[name(package)])


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
