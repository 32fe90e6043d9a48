"""The image that members run from: present, else pulled, else built from the embedded mongod."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import binary
from .engines import Engine, last_line
from .processes import ProcessError

OFFICIAL = "docker.io/library/mongo:7.0"
_BUILT = "localhost/migration-playbooks/mongod"

# As in the official image, so that nothing else has to know which one runs.
_USER = "mongodb:x:999:999::/data/db:/bin/sh\n"
_COMMANDS = ("sh", "cat", "cp", "id", "ls", "mkdir", "ps", "stat")


def provide(engine: Engine, wanted: str | None) -> str:
    """Return the name of an image that is there.

    Args:
        engine: whose image store.
        wanted: an image that must be it; None is the official one, or where no registry is
            reachable a local one.

    Raises:
        ProcessError: the wanted image isn't here and can't be pulled, or none can be built.
    """
    image = wanted or OFFICIAL
    if _present(engine, image):
        return image
    pulled = engine.attempt("pull", "--quiet", image, seconds=900)
    if pulled.returncode == 0:
        return image
    if wanted:
        raise ProcessError(
            f"{engine.name} can't pull MONGO_IMAGE={wanted}: {last_line(pulled)}. Name an image "
            "that is here, or unset MONGO_IMAGE."
        )
    return _build(engine)


def _present(engine: Engine, image: str) -> bool:
    return engine.attempt("image", "inspect", image).returncode == 0


def _build(engine: Engine) -> str:
    """Make an image of the embedded mongod, the libraries that it needs, and a shell."""
    mongod = binary.find()
    image = f"{_BUILT}:{_version(mongod)}"
    if _present(engine, image):
        return image
    shell = shutil.which("busybox")
    if shell is None:
        raise ProcessError("An image needs a shell: apt-get install busybox-static.")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ("bin", "usr/bin", "data/db", "etc", "tmp", "proc", "sys", "dev"):
            (root / name).mkdir(parents=True)
        (root / "data" / "db").chmod(0o777)
        (root / "tmp").chmod(0o1777)
        (root / "etc" / "passwd").write_text(f"root:x:0:0::/:/bin/sh\n{_USER}")
        (root / "etc" / "group").write_text("root:x:0:\nmongodb:x:999:\n")
        shutil.copy(shell, root / "bin" / "busybox")
        for command in _COMMANDS:
            (root / "bin" / command).symlink_to("busybox")
        shutil.copy(mongod, root / "usr" / "bin" / "mongod")
        for library in _libraries(mongod):
            beside = library.resolve().parent == mongod.resolve().parent
            target = root / ("usr/bin" if beside else library.parent.relative_to("/"))
            target /= library.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)
        _import(engine, root, image)
    return image


def _import(engine: Engine, root: Path, image: str) -> None:
    with subprocess.Popen(
        ["tar", "--create", "--directory", str(root), "--owner=0", "--group=0", "."],
        stdout=subprocess.PIPE,
    ) as archive:
        assert archive.stdout is not None
        done = engine.attempt(
            *("import", "--change", "USER mongodb", "--change", 'CMD ["mongod"]'),
            *("--change", "ENV PATH=/bin:/usr/bin", "-", image),
            seconds=300,
            stdin=archive.stdout.fileno(),
        )
    if done.returncode:
        raise ProcessError(f"{engine.name} can't import a local image: {last_line(done)}")


def _libraries(program: Path) -> list[Path]:
    listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True)
    return [Path(name) for name in re.findall(r"(/\S+) \(0x", listed.stdout)]


def _version(mongod: Path) -> str:
    said = subprocess.run([str(mongod), "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"db version v(\S+)", said.stdout)
    if found is None:
        raise ProcessError(f"{mongod} doesn't say its version.")
    return found[1]
