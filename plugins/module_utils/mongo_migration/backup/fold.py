"""Makes an ordinary whole archive out of one that holds only changes, and what that is based on."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import ArchiveError
from ..support import stop
from ..support.progress import Sink
from ..values import ejson
from . import archive, documents, dump, estimate, footer, names, open_source
from .archive_writer import Writer
from .chain import Chain
from .crypt import Keys
from .documents import Output, Reading
from .manifest import NAME, TOOL, Collection, Manifest
from .pipeline import switching_often
from .settings import Settings, utc_now
from .spool import Spool
from .store import Store


def run(
    path: Path, keys: Keys, settings: Settings, *, progress: Sink, planned: bool
) -> dict[str, Any]:
    """Return what folding the archive *path* has made, or would make if *planned*, in plain values.

    What is encrypted never becomes readable by this.

    Raises:
        ArchiveError: as :func:`fold`, or no key opens it.
        InterruptedRunError: a stop was asked for.
    """
    asked = stop.listen()

    def sink(event: dict[str, Any]) -> None:
        progress(event)
        asked.check()

    with _require_chain(open_source.open_source(path, keys, sink)) as source:
        if source.encrypted and not settings.lock:
            settings = replace(settings, lock=keys.lock())
        found = {"plan": plan(source, settings)} if planned else None
        result: dict[str, Any] = ejson.to_plain(found or fold(source, settings, progress=sink))
    return result


def plan(source: Any, settings: Settings) -> dict[str, Any]:
    """Return what folding *source* would read and write; nothing is written.

    Raises:
        ArchiveError: it is whole already.
    """
    chain = _require_chain(source)
    size = sum(one.stat().st_size for one in chain.paths)
    free = Store(settings.folder).free()
    needed = estimate.needed_bytes(size, settings)
    return {
        "archives": [str(one) for one in chain.paths],
        "database": chain.manifest.database,
        "folder": str(settings.folder),
        "collections": len(chain.manifest.collections),
        "snapshot_time": chain.manifest.snapshot_time,
        "documents": chain.manifest.documents,
        "archive_bytes": size,
        "free_bytes": free,
        "needed_bytes": needed,
        "fits": free > needed,
    }


def fold(
    source: Any,
    settings: Settings,
    *,
    progress: Sink,
    now: Callable[[], datetime] = utc_now,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Write the whole archive that *source* amounts to, verify it, and return what it is.

    It gets the name of the instant that its data are of; the archives that it was made of stay.

    Args:
        source: an incremental archive, open with what it is based on.
        settings: where to, and how it is encrypted.
        progress: told of each part.
        now: the time of day.
        clock: seconds, for the time it took.

    Raises:
        ArchiveError: it is whole already, something is damaged, or there is no room.
    """
    began, chain, expected = clock(), _require_chain(source), plan(source, settings)
    estimate.require_room(expected)
    # What is read below is held to its digests as it is read.
    chain.check(progress, loading=frozenset(one.name for one in chain.manifest.collections))
    store = Store(settings.folder)
    cleaned = store.prepare()
    with switching_often(), ExitStack() as stack, archive.explained(settings.folder):
        made = archive.make(
            stack,
            settings,
            content=lambda file: _write(chain, file, progress),
            now=now,
            clock=clock,
            progress=progress,
            taken=datetime.fromisoformat(chain.manifest.started).astimezone(UTC),
        )
    return {
        **made.facts(settings.folder),
        "folded": expected["archives"],
        "elapsed": round(clock() - began, 3),
        "cleaned": cleaned,
        "removed": [],
    }


def _require_chain(source: Any) -> Chain:
    if isinstance(source, Chain):
        return source
    path: Path = source.path
    raise ArchiveError(f"{path} is whole already: there is nothing to fold.")


def _write(chain: Chain, file: BinaryIO | Spool, progress: Sink) -> Manifest:
    manifest = chain.manifest
    started = datetime.fromisoformat(manifest.started)
    writer = Writer(file, modified=int(started.timestamp()))
    pairs = [(one, _output(manifest.database, one)) for one in manifest.collections]
    files = [dump.write_definition(writer, manifest.database, one) for one, _output in pairs]
    stored = [(one, output) for one, output in pairs if one.type != "view"]
    reading = _read(chain, stored)
    files += documents.write(writer, reading, total=manifest.documents, progress=progress)
    for one, output in stored:
        if output.digest.count != one.count:
            raise ArchiveError(
                f"{chain.path}: The archive and its base don't fit: {one.name} has "
                f"{output.digest.count} documents, and should have {one.count}."
            )
        output.describe(one)
    whole = replace(manifest, files=files, format=footer.FORMAT, tool=TOOL)
    writer.finish(NAME, whole.dump())
    return whole


def _output(database: str, entry: Collection) -> Output:
    return Output(names.data_file(database, entry.name, entry.type), entry.name)


def _read(chain: Chain, stored: list[tuple[Collection, Output]]) -> Reading:
    for entry, output in stored:
        for batch in chain.batches(entry):
            yield output, batch
        yield output, None
