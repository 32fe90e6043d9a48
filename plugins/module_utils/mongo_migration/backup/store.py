"""The folder that keeps archives: names, the link to the latest, space, retention, leftovers."""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import shlex
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from ..errors import ArchiveError
from ..support import file_lock
from . import bases, crypt, names, sidecar
from .manifest import Base
from .reader import Reader
from .sidecar import About, Sidecar

LATEST = "latest.tar.gz"
PREFIX, SUFFIX = "backup-", ".tar.gz"
CHANGES = ".changes"  # before the suffix of an archive that holds only what changed since another
#: How many archives may be based on each other; each has to be read for a restore.
LONGEST_CHAIN = 32
ENCRYPTED = ".age"  # behind the name of an archive, and of the link to it
_UNFINISHED = ".unfinished-"
# Where a folder itself can't be locked: a network file system locks only what is open for writing.
_LOCK = ".lock"
LOCK_SECONDS = 60
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
# Where a folder can't be synchronized by itself, its file system does it with the files.
_NO_LOCK = {errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOTSUP}
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}
_STAMP = "%Y%m%d-%H%M%S"


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An archive in the folder; ``about`` is None if it can't be read, ``problem`` says why."""

    path: Path
    bytes: int
    made: datetime
    about: About | None
    encrypted: bool = False
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Which archives of a database are kept: the newest *count*, and all younger than *days*."""

    count: int | None = None
    days: float | None = None


class Store:
    """A folder of archives, readable by its owner alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self) -> list[str]:
        """Make the folder, and remove what killed processes left; return what was removed.

        Raises:
            ArchiveError: it can't be made or written, or somebody else may write there.
        """
        try:
            # Whose mode it is to decide is who made it: one that exists is never changed.
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from error
        self._require_ours()
        left = [path.name for path in sorted(self.folder.glob(f"{_UNFINISHED}*")) if _reap(path)]
        with self._locked():  # so that nobody is between naming a description and its archive
            for path in sorted(self.folder.glob(f"{PREFIX}*{ENCRYPTED}{sidecar.SUFFIX}")):
                if not path.with_name(path.name.removesuffix(sidecar.SUFFIX)).exists():
                    path.unlink()
                    left.append(path.name)
        return left

    def try_out(self) -> str | None:
        """Do in the folder what a backup will do, and leave nothing; return what it can do without.

        Raises:
            ArchiveError: something of it is refused, or somebody else may write there.
        """
        if not self.folder.exists():
            parent = self._nearest()
            if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
                raise self._unusable(f"it doesn't exist, and can't be made in {parent}")
            return None
        self._require_ours()
        try:
            with self.unfinished(lambda: datetime.now(UTC)) as (file, path), self._locked():
                file.write(b"0")
                file.flush()
                os.fsync(file.fileno())
                path.rename(path.with_name(f"{path.name}-renamed"))
                path.with_name(f"{path.name}-renamed").rename(path)
                self._sync()
        except OSError as error:
            raise self._unusable(f"trying to write there failed ({error.strerror})") from error
        return self._link(self.folder / f"{_UNFINISHED}trial-{os.getpid()}", "nothing", keep=False)

    def exposed(self) -> str | None:
        """Return why the archives there may be anybody's, if they may."""
        if not self.folder.is_dir():
            return None
        try:
            self._require_ours()
        except ArchiveError as error:
            return error.message
        return None

    def _require_ours(self) -> None:
        """Require a folder where nobody else can put archives, or exchange them.

        Raises:
            ArchiveError: it isn't one; the message says what to do.
        """
        try:
            found = self.folder.stat()
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from error
        if not stat.S_ISDIR(found.st_mode):
            raise self._unusable("it isn't a folder")
        if found.st_uid != os.geteuid():
            raise self._unusable(
                f"it belongs to the user {_user(found.st_uid)}, who could exchange archives there"
            )
        if found.st_mode & _OTHERS_MAY_WRITE:
            raise ArchiveError(
                f"Backups aren't kept in {self.folder}: others than its owner may write there, and "
                "could exchange archives. If it is for backups alone: chmod go-w "
                f"{shlex.quote(str(self.folder))}. Otherwise name a folder of its own in it."
            )
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise self._unusable("permission denied")

    def _unusable(self, reason: str) -> ArchiveError:
        return ArchiveError(
            f"Backups can't be written to {self.folder}: {reason}. Make the folder, "
            "give it to the user that runs this, or name another one."
        )

    def free(self) -> int:
        """Return the bytes that are left, of the nearest folder that exists."""
        return shutil.disk_usage(self._nearest()).free

    def _nearest(self) -> Path:
        folder = self.folder.absolute()
        while not folder.exists():
            folder = folder.parent
        return folder

    @contextmanager
    def unfinished(self, now: Callable[[], datetime]) -> Iterator[tuple[BinaryIO, Path]]:
        """Open a file under a name that nobody takes for an archive; remove it at the end.

        A lock that dies with the process tells the next run whether the file is a leftover.
        """
        path = self.folder / f"{_UNFINISHED}{now().strftime(_STAMP)}-{os.getpid()}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        file = os.fdopen(descriptor, "w+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file, path
        finally:
            path.unlink(missing_ok=True)
            # What is still in the buffer has no file any more. On a full disk, writing it fails a
            # second time, and would hide the error that says so in words.
            with suppress(OSError):
                file.close()

    def publish(
        self,
        file: BinaryIO,
        path: Path,
        taken: datetime,
        description: Sidecar | None = None,
        *,
        whole: bool = True,
        only_if_newest: bool = False,
    ) -> tuple[Path, str | None]:
        """Give a verified archive its name, and let the link show it if it is the newest whole one.

        Everything is on disk before it is visible. The name is never taken from another archive.
        What fails leaves nothing, but for the link: an archive is one without it.

        Returns:
            The name, and why no link shows it, if none can.

        Args:
            file: the archive.
            path: its name up to now.
            taken: the time that its new name tells.
            description: what lies beside it, if it is encrypted.
            whole: whether it holds all, and not only what changed since another.
            only_if_newest: leave the link where it shows a newer one.
        """
        file.flush()
        os.fsync(file.fileno())
        with self._locked():
            while True:
                stamp = f"{PREFIX}{taken.strftime(_STAMP)}"
                if not any(self.folder.glob(f"{stamp}*{SUFFIX}*")):
                    break
                taken += timedelta(seconds=1)  # two backups in one second
            plain = self.folder / f"{stamp}{'' if whole else CHANGES}{SUFFIX}"
            final = plain if description is None else _encrypted(plain)
            if description is not None:
                self._describe(final, description)
            path.rename(final)
            try:
                self._sync()
            except OSError:
                final.unlink()
                sidecar.path_of(final).unlink(missing_ok=True)
                raise
            shown = self.latest()
            newest = shown is None or shown.name <= final.name
            linked = whole and (newest or not only_if_newest)
            return final, self._point(final) if linked else None

    def archives(self) -> list[Stored]:
        """Return the archives, newest first, each with what its manifest says."""
        found = []
        for path in self.folder.glob(f"{PREFIX}*{SUFFIX}*"):
            made = _time(path)
            if made is None or not path.is_file() or path.is_symlink():
                continue
            encrypted = path.suffix == ENCRYPTED
            about, problem = None, None
            try:
                about = _about_encrypted(path) if encrypted else _about(path)
            except ArchiveError as error:
                problem = error.message
            found.append(
                Stored(
                    path=path,
                    bytes=path.stat().st_size,
                    made=made,
                    about=about,
                    encrypted=encrypted,
                    problem=problem,
                )
            )
        known = {one.path.name: one for one in found}
        found = [replace(one, problem=one.problem or _base_problem(one, known)) for one in found]
        return sorted(found, key=lambda one: one.path.name, reverse=True)

    def latest(self) -> Path | None:
        """Return the archive that the link shows."""
        for link in self._links():
            with suppress(OSError):
                if link.is_symlink() and link.exists():
                    return self.folder / link.readlink()
        return None

    def retire(
        self,
        database: str,
        retention: Retention,
        *,
        now: datetime,
        needed: frozenset[str] = frozenset(),
    ) -> list[str]:
        """Remove the archives of *database* that nothing keeps; return their names.

        The newest readable one always stays, and so do those in *needed*, which runs that could
        still be rolled back rely on, and what one that stays is based on. What holds only changes
        counts for nothing, and goes with the whole one that it is based on. What can't be read is
        left for a person to look at.
        """
        if retention.count is None and retention.days is None:
            return []
        removed = []
        with self._locked():
            mine = {
                one.path.name: one
                for one in self.archives()
                if one.about is not None and one.about.database == database
            }
            kept = self._kept(mine, retention, now, needed)
            for name, one in mine.items():
                if name not in kept:
                    one.path.unlink()
                    sidecar.path_of(one.path).unlink(missing_ok=True)
                    removed.append(name)
            if removed:
                self._sync()
        return removed

    def _kept(
        self,
        mine: dict[str, Stored],
        retention: Retention,
        now: datetime,
        needed: frozenset[str],
    ) -> set[str]:
        """Return the names of those that stay; *mine* are the newest first."""
        latest, oldest = self.latest(), now - timedelta(days=retention.days or 0)
        whole = [one for one in mine.values() if one.about and one.about.base is None]
        kept = {
            one.path.name
            for rank, one in enumerate(whole)
            if rank == 0
            or one.path == latest
            or (retention.count is not None and rank < retention.count)
            or (retention.days is not None and one.made > oldest)
        }
        for one in mine.values():
            chain = {part.path.name for part in chain_of(one, mine)}
            if one.path.name in needed or one.problem or chain & kept:
                kept |= chain
        return kept

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process at a time name and remove archives."""
        descriptor = self._open_for_locking()
        try:
            file_lock.take(descriptor, seconds=LOCK_SECONDS)
            yield
        except file_lock.FileLockHeldError as error:
            raise ArchiveError(
                f"Another process has kept the lock of {self.folder} for {LOCK_SECONDS} s, as a "
                "backup does for a moment: look who it is (fuser -v, lsof +D), end it if it hangs, "
                "then run the same command again."
            ) from error
        finally:
            os.close(descriptor)

    def _open_for_locking(self) -> int:
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_LOCK:
                return descriptor  # somebody else has it
            os.close(descriptor)
            return os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return descriptor

    def _point(self, final: Path) -> str | None:
        """Move the link in one step: a reader sees the old archive or the new one.

        Returns:
            Why it doesn't show *final*, if it doesn't.
        """
        # The name of the link tells what it shows. Of the two there is only one: an old archive
        # must not be taken for the latest.
        mine = self.folder / (LATEST + (ENCRYPTED if final.suffix == ENCRYPTED else ""))
        problem = self._link(mine, final.name, keep=True)
        with suppress(OSError):
            for link in self._links():
                if link != mine or problem:
                    link.unlink(missing_ok=True)
            self._sync()
        return problem

    def _link(self, name: Path, target: str, *, keep: bool) -> str | None:
        """Make the link *name*; return why that can't be done, if it can't."""
        new = self.folder / f"{_UNFINISHED}link-{os.getpid()}"
        try:
            new.unlink(missing_ok=True)
            new.symlink_to(target)
            new.rename(name)
            if not keep:
                name.unlink()
        except OSError as error:
            with suppress(OSError):
                new.unlink(missing_ok=True)
            return (
                f"{self.folder} takes no symbolic links ({error.strerror}), so there is no "
                f"{LATEST}: name archives by their own names."
            )
        return None

    def _links(self) -> tuple[Path, Path]:
        return self.folder / LATEST, self.folder / f"{LATEST}{ENCRYPTED}"

    def _describe(self, final: Path, description: Sidecar) -> None:
        """Put the description beside the place where the archive will be."""
        new = self.folder / f"{_UNFINISHED}description-{os.getpid()}"
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(description.dump())
            file.flush()
            os.fsync(file.fileno())
            new.rename(sidecar.path_of(final))

    def _sync(self) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise
        finally:
            os.close(descriptor)


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _encrypted(path: Path) -> Path:
    return path.with_name(path.name + ENCRYPTED)


def chain_of(one: Stored, known: Mapping[str, Stored]) -> list[Stored]:
    """Return *one* and what it is based on, the whole one last, as far as it is there."""
    chain = [one]
    while (about := chain[-1].about) and about.base and len(chain) <= LONGEST_CHAIN:
        following = known.get(about.base.name)
        if following is None or following in chain:
            break
        chain.append(following)
    return chain


def based_on(folder: Path, base: Base | None) -> list[Path]:
    """Return *base* and all that it is based on, as far as that is in *folder*; newest first."""
    found: list[Path] = []
    while base is not None and len(found) < LONGEST_CHAIN:
        path = folder / base.name
        if not path.is_file():
            break
        found.append(path)
        about = _about_encrypted(path) if path.suffix == ENCRYPTED else _about(path)
        base = about.base
    return found


def _base_problem(one: Stored, known: Mapping[str, Stored]) -> str | None:
    """Return why *one* can't be restored with what it is based on, if it can't."""
    chain = chain_of(one, known)
    for this, following in zip(chain, [*chain[1:], None], strict=True):
        if this.about is None or this.about.base is None:
            return this.problem if this is not one else None
        name = this.about.base.name
        if following is None:
            return f"{one.path}: It holds only what changed since {name}, {_why_not(name, chain)}."
        wrong = bases.misfit(this.about, following.about) if following.about else None
        if wrong:
            return f"{one.path}: {name} isn't the archive that it is based on: {wrong}."
    return None


def _why_not(name: str, chain: list[Stored]) -> str:
    if name in {one.path.name for one in chain}:
        return "which is based on itself"
    if len(chain) > LONGEST_CHAIN:
        return f"the last of more than {LONGEST_CHAIN} that are based on each other"
    return "which isn't there"


def _about(path: Path) -> About:
    with Reader(path) as reader:
        return About.of(reader.manifest, reader.digest)


def _about_encrypted(path: Path) -> About:
    """Return what the description says, after a look whether it can be of this very file."""
    found = sidecar.read(path)
    if path.stat().st_size != found.length or not crypt.is_encrypted(path):
        raise ArchiveError(
            f"{path}: The archive is truncated or damaged: it has {path.stat().st_size} bytes, its "
            f"description says {found.length}."
        )
    return found.about


def _reap(path: Path) -> bool:
    """Remove an unfinished file whose process is gone."""
    with suppress(OSError):
        kind = path.lstat().st_mode
        if stat.S_ISLNK(kind):
            path.unlink()
            return True
        if not stat.S_ISREG(kind):
            return False
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            return True
    return False


def _time(path: Path) -> datetime | None:
    try:
        found = names.ARCHIVE.fullmatch(path.name)
        return datetime.strptime(found[1], _STAMP).replace(tzinfo=UTC) if found else None
    except ValueError:
        return None
