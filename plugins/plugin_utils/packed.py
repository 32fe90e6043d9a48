"""What a module of ours is sent with, put together without reading all of the engine each time.

For each module, in each command, ansible-core parses every file of the engine to see what the
module imports: about a second of computing, seven times in a migration, and once while writers
wait. All of our modules need the engine as it is, so it is packed once for a command, and each
module gets that. With it goes the engine's byte code, which Python would otherwise make anew at the
start of each module; another version of Python there leaves it aside.

It reaches into ansible-core, where nothing is promised: where something isn't as expected, nothing
is done, and ansible-core packs the module itself.
"""

from __future__ import annotations

import datetime
import importlib.util
import io
import marshal
import pickle
import zipfile
from base64 import b64encode
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.executor import module_common

_UTILS = Path(__file__).resolve().parents[1] / "module_utils"
_ENGINE = "mongo_migration"
_MODULES = "ansible/module_utils"
# What all of them import of ansible-core's own.
_STUB = b"from ansible.module_utils.basic import AnsibleModule\n"
# Of a .pyc: by a hash that nobody checks, since the source lies beside it and can't have changed.
_UNCHECKED = (1).to_bytes(4, "little") + bytes(8)


class Packed:
    """For an action plugin, before ansible-core's own class: packs the module that it runs."""

    def _configure_module(
        self: Any, module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]
    ) -> Any:
        try:
            prepare(module_name, self._shared_loader_obj.module_loader, task_vars)
        except Exception as error:  # ansible-core does without
            self._display.debug(f"{module_name} is packed by ansible-core: {error!r}")
        return super()._configure_module(  # type: ignore[misc]
            module_name, module_args, task_vars
        )


def prepare(name: str, loader: Any, task_vars: dict[str, Any]) -> None:
    """Put the packed module *name* where ansible-core looks for those that it has packed.

    Args:
        name: of a module of ours, as in ``library``.
        loader: ansible-core's, which knows where modules are.
        task_vars: of the task.

    Raises:
        Exception: of any kind, where ansible-core isn't as expected.
    """
    path = Path(loader.find_plugin(name, ".py"))
    if path.parents[1] != _UTILS.parents[1]:
        return  # of a collection, where files have other names
    extensions = module_common._builder.ExtensionManager.create(task_vars=task_vars)
    if extensions.extension_names:
        return  # a debugger wants to know more
    compression = constants.config.get_config_value("DEFAULT_MODULE_COMPRESSION")
    folder = Path(constants.DEFAULT_LOCAL_TMP) / "ansiballz_cache"
    fqn = f"ansible.legacy.{name}"
    place = folder / f"{fqn}-{compression}-none"
    if place.exists():
        return
    folder.mkdir(exist_ok=True)
    now = datetime.datetime.now(datetime.UTC)
    content, metadata = _engine(folder / f"{_ENGINE}-{compression}", compression, now)
    with zipfile.ZipFile(content, "a", getattr(zipfile, compression)) as archive:
        module_common._add_module_to_zip(
            archive, now, fqn, path.read_bytes(), str(path), extensions
        )
    packed = module_common._CachedModule(
        zip_data=b64encode(content.getvalue()), metadata=metadata, source_mapping={}
    )
    packed.dump(str(place))


def _engine(place: Path, compression: str, now: datetime.datetime) -> tuple[io.BytesIO, Any]:
    """Return the engine, packed, and what ansible-core says of it; kept at *place* for others."""
    if place.exists():  # in the folder of this command, which is ours alone
        content, metadata = pickle.loads(place.read_bytes())
        return io.BytesIO(content), metadata
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", getattr(zipfile, compression)) as archive:
        metadata = module_common.recursive_finder(
            _ENGINE,
            f"ansible.legacy.{_ENGINE}",
            module_common.Origin(path=str(_UTILS)).tag(_STUB),
            archive,
            now,
            module_common._builder.ExtensionManager.create(task_vars={}),
        )
        for name, data in _files():
            entry = zipfile.ZipInfo(name, now.utctimetuple()[:6])
            entry.compress_type = archive.compression
            archive.writestr(entry, data)
    part = place.with_name(f"{place.name}-part")
    part.write_bytes(pickle.dumps((packed.getvalue(), metadata)))
    part.rename(place)
    return packed, metadata


def _files() -> Iterator[tuple[str, bytes]]:
    """Yield each file of the engine, and its byte code."""
    for path in sorted((_UTILS / _ENGINE).rglob("*.py")):
        relative = path.relative_to(_UTILS)
        name = f"{_MODULES}/{relative}"
        yield name, path.read_bytes()
        module = ".".join(("ansible.module_utils", *relative.with_suffix("").parts))
        code = SourceFileLoader(module, str(path)).get_code(module)
        header = importlib.util.MAGIC_NUMBER + _UNCHECKED
        yield f"{name}c", header + marshal.dumps(code)
