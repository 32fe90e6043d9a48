"""What a module of ours is sent with: all that ansible-core would send, and byte code."""

from __future__ import annotations

import datetime
import io
import zipfile
import zipimport
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible import constants
from ansible.executor import module_common
from ansible.plugins import loader

from plugins.plugin_utils import packed

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "library").glob("mongo_*.py"))


@pytest.fixture(scope="module")
def _ansible() -> None:
    loader.init_plugin_loader()
    loader.module_loader.add_directory(str(ROOT / "library"))
    loader.module_utils_loader.add_directory(str(ROOT / "plugins" / "module_utils"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _ansible: None) -> Iterator[Path]:
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    yield tmp_path / "ansiballz_cache"


def archive(folder: Path, name: str) -> zipfile.ZipFile:
    """What ansible-core reads in place of what it would pack itself."""
    found = module_common._CachedModule.load(
        str(folder / f"ansible.legacy.{name}-ZIP_DEFLATED-none")
    )
    return zipfile.ZipFile(io.BytesIO(b64decode(found.zip_data)))


def test_it_holds_all_that_ansible_core_would_send(folder: Path) -> None:
    """Of the one that imports most of the engine, by ansible-core's own reading."""
    name = "mongo_migrate"
    source = (ROOT / "library" / f"{name}.py").read_bytes()
    own = zipfile.ZipFile(io.BytesIO(), "w")
    extensions = module_common._builder.ExtensionManager.create(task_vars={})
    now = datetime.datetime.now(datetime.UTC)
    module_common.recursive_finder(name, f"ansible.legacy.{name}", source, own, now, extensions)
    module_common._add_module_to_zip(own, now, f"ansible.legacy.{name}", source, "", extensions)

    packed.prepare(name, loader.module_loader, {})
    found = archive(folder, name)

    assert set(own.namelist()) <= set(found.namelist())
    differ = [one for one in own.namelist() if found.read(one) != own.read(one)]
    assert [one for one in differ if not one.endswith("__init__.py")] == []


def test_the_second_module_holds_itself_and_not_the_first(folder: Path) -> None:
    for name in NAMES[:2]:
        packed.prepare(name, loader.module_loader, {})
    found = archive(folder, NAMES[1])

    assert f"ansible/legacy/{NAMES[1]}.py" in found.namelist()
    assert f"ansible/legacy/{NAMES[0]}.py" not in found.namelist()
    assert len(found.namelist()) == len(set(found.namelist()))


@pytest.mark.parametrize("name", NAMES)
def test_modules_import_nothing_else_of_ansible(name: str) -> None:
    lines = (ROOT / "library" / f"{name}.py").read_text().splitlines()
    imported = {line.split()[1] for line in lines if line.startswith(("from ansible", "import a"))}

    assert {one for one in imported if ".mongo_migration" not in one} == {
        "ansible.module_utils.basic"
    }


def test_byte_code_is_that_of_the_source_and_is_what_python_takes(
    folder: Path, tmp_path: Path
) -> None:
    packed.prepare(NAMES[0], loader.module_loader, {})
    file = tmp_path / "packed.zip"
    file.write_bytes(archive(folder, NAMES[0]).fp.getvalue())  # type: ignore[union-attr]
    inside = zipimport.zipimporter(f"{file}/ansible/module_utils/mongo_migration")

    # Made where the source lies; what Python makes of the source there is named by the archive.
    assert inside.get_code("errors").co_filename.startswith(str(ROOT))
    with zipfile.ZipFile(file) as found:
        engine = [n for n in found.namelist() if "module_utils/mongo_migration/" in n]
    sources = {one for one in engine if one.endswith(".py")}
    assert {f"{one}c" for one in sources} == set(engine) - sources
    expected = (ROOT / "plugins" / "module_utils" / "mongo_migration").rglob("*.py")
    assert len(sources) == len(list(expected))


def test_what_cannot_be_packed_is_left_to_ansible_core(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Core:
        def _configure_module(self, name: str, _arguments: Any, _task_vars: Any) -> str:
            return f"{name} by ansible-core"

    class Plugin(packed.Packed, Core):
        _shared_loader_obj = loader
        _display = type("Display", (), {"debug": lambda self, text: None})()

    monkeypatch.delattr(module_common, "recursive_finder")

    assert Plugin()._configure_module(NAMES[0], {}, {}) == f"{NAMES[0]} by ansible-core"
    assert not list(folder.glob("ansible.legacy*"))
