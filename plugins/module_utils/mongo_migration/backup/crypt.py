"""Encryption of archives with age: to public keys, or with a passphrase.

To public keys, whoever takes backups needs no secret: only those who restore do. With a passphrase,
each archive gets a key of its own, and that key, locked by the passphrase, lies in the description
beside the archive. Both are ordinary age files, which the ``age`` program opens too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyrage

from ..errors import ArchiveError
from .spool import Spool

MAGIC = b"age-encryption.org/v1\n"
_SECRET = "AGE-SECRET-KEY-"


@dataclass(frozen=True, kw_only=True)
class Lock:
    """How archives are encrypted; neither of the two is not at all."""

    recipients: tuple[str, ...] = ()
    passphrase: str | None = None

    def __bool__(self) -> bool:
        return bool(self.recipients or self.passphrase)


@dataclass(frozen=True, kw_only=True)
class Keys:
    """What opens encrypted archives."""

    identity: str | None = None
    identity_file: Path | None = None
    passphrase: str | None = None

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Keys:
        """Return those of a module's options identity, identity_file and passphrase."""
        return cls(
            identity=params["identity"] or None,
            identity_file=Path(params["identity_file"]) if params["identity_file"] else None,
            passphrase=params["passphrase"] or None,
        )

    def lock(self) -> Lock:
        """Return how to encrypt so that these keys open it."""
        if self.passphrase:
            return Lock(passphrase=self.passphrase)
        return Lock(recipients=tuple(str(one.to_public()) for one in _identities(self)))


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """What came of encrypting: length and hash of the file; with a passphrase, the locked key."""

    length: int
    sha256: str
    key: str | None


class Sealer:
    """Encrypts one archive.

    Raises:
        ArchiveError: a recipient isn't one. Nothing was written yet.
    """

    def __init__(self, lock: Lock) -> None:
        self._key: str | None = None
        if lock.recipients and lock.passphrase:
            raise ArchiveError(
                "Encrypt either to encrypt_recipients or with encrypt_passphrase, not both."
            )
        if lock.passphrase:
            identity = pyrage.x25519.Identity.generate()
            locked = pyrage.passphrase.encrypt(
                f"{identity}\n".encode(), lock.passphrase, armored=True
            )
            self._key = locked.decode()
            _unlock(self._key, lock.passphrase)  # what can't be opened now never can
            self._recipients = [identity.to_public()]
        else:
            self._recipients = [_recipient(text) for text in lock.recipients]

    def seal(
        self, plain: BinaryIO | Spool, file: BinaryIO, written: Callable[[int], None]
    ) -> Sealed:
        """Write all of *plain* to *file*, encrypted; *written* is told of the bytes so far."""
        target = _Target(file, written)
        try:
            pyrage.encrypt_io(plain, target, self._recipients)
        except pyrage.EncryptError as error:
            # The library turns every error into a text: ours says whether the disk is full.
            raise target.error or error from error
        if target.error:  # of the last bytes, the library swallows it
            raise target.error
        return Sealed(length=target.length, sha256=target.hash.hexdigest(), key=self._key)


def is_encrypted(path: Path) -> bool:
    """Return whether the file *path* begins as an age file does; an unreadable one doesn't."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def open_sealed(
    path: Path,
    target: BinaryIO | Spool,
    *,
    key: str | None,
    keys: Keys,
    written: Callable[[int], None],
) -> None:
    """Decrypt the archive *path* into *target*.

    Args:
        path: the encrypted archive.
        target: gets the plain archive.
        key: its own key, locked by a passphrase, or None if it is encrypted to public keys.
        keys: what there is to open it with.
        written: told of the bytes so far.

    Raises:
        ArchiveError: no key, the wrong key, or damage. The message names the option.
    """
    identities = [_unlock(key, _passphrase(keys, path))] if key else _identities(keys, path)
    sink = _Target(target, written)
    try:
        with path.open("rb") as file:
            pyrage.decrypt_io(file, sink, identities)
    except pyrage.DecryptError as error:
        if sink.error:
            raise sink.error from error
        raise ArchiveError(
            f"{path.name} can't be opened with this key: it was encrypted to another one, or its "
            "beginning is damaged. Name the key that belongs to one of the recipients "
            "(identity or identity_file)."
        ) from error
    except OSError as error:
        if sink.error:
            raise sink.error from error
        raise ArchiveError(
            f"{path.name} is damaged or truncated: it can't be decrypted behind byte {sink.length}."
        ) from error
    if sink.error:
        raise sink.error


def digest(path: Path, read: Callable[[int], None]) -> str:
    """Return the SHA-256 of a file; *read* is told of the bytes so far."""
    whole, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            whole.update(chunk)
            done += len(chunk)
            read(done)
    return whole.hexdigest()


class _Target:
    """A file for the library to write to; it counts and hashes, and keeps an error as it was."""

    def __init__(self, file: BinaryIO | Spool, written: Callable[[int], None]) -> None:
        self._file = file
        self._written = written
        self.hash = hashlib.sha256()
        self.length = 0
        self.error: BaseException | None = None

    def write(self, content: bytes) -> int:
        """Write *content*."""
        try:
            self._file.write(content)
            self.hash.update(content)
            self.length += len(content)
            self._written(self.length)
        except BaseException as error:
            self.error = error
            raise
        return len(content)

    def flush(self) -> None:
        """Flush the file."""
        try:
            self._file.flush()
        except OSError as error:
            self.error = error
            raise


def _recipient(text: str) -> Any:
    if text.strip().upper().startswith(_SECRET):
        raise ArchiveError(
            "encrypt_recipients holds a secret key. It takes public ones (age1…); keep the secret "
            "one where restores are done."
        )
    try:
        return pyrage.x25519.Recipient.from_str(text.strip())
    except pyrage.RecipientError as error:
        raise ArchiveError(
            f"encrypt_recipients: '{text}' isn't a public key of age ({error}). It begins with "
            "age1; 'age-keygen -y' prints it."
        ) from error


def _identities(keys: Keys, path: Path | None = None) -> Sequence[Any]:
    """Return the secret keys, of which a file may hold several, with comments as age writes them.

    An error never quotes a key.
    """
    texts = []
    if keys.identity:
        texts.append(("identity", keys.identity))
    if keys.identity_file:
        try:
            texts.append((f"identity_file {keys.identity_file}", keys.identity_file.read_text()))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it isn't text"
            raise ArchiveError(
                f"The key in identity_file {keys.identity_file} can't be read: {reason}."
            ) from error
    found = []
    for where, text in texts:
        lines = [line.strip() for line in text.splitlines()]
        secrets = [line for line in lines if line and not line.startswith("#")]
        try:
            found += [pyrage.x25519.Identity.from_str(line) for line in secrets]
        except pyrage.IdentityError as error:
            raise ArchiveError(
                f"{where} isn't a secret key of age: a line with {_SECRET}… is needed."
            ) from error
    if not found:
        raise ArchiveError(
            f"{path.name if path else 'The archive'} is encrypted to public keys, and no key to "
            "open it was given. Name a file with the secret key (identity_file), or its text "
            "(identity)."
        )
    return found


def _passphrase(keys: Keys, path: Path) -> str:
    if not keys.passphrase:
        raise ArchiveError(
            f"{path.name} is encrypted with a passphrase, and none was given. Name it (passphrase)."
        )
    return keys.passphrase


def _unlock(key: str, passphrase: str) -> Any:
    try:
        text = pyrage.passphrase.decrypt(key.encode(), passphrase).decode().strip()
        return pyrage.x25519.Identity.from_str(text)
    except (pyrage.DecryptError, pyrage.IdentityError, UnicodeDecodeError) as error:
        raise ArchiveError(
            "The passphrase is wrong: it doesn't open the archive's key (or the description "
            "beside the archive, which holds that key, is damaged)."
        ) from error
