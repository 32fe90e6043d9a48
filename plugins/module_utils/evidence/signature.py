"""``seal.sig``: a detached Ed25519 signature of the seal, in base64.

Without this project: ``base64 -d seal.sig > raw && openssl pkeyutl -verify -pubin
-inkey public.pem -rawin -in seal.json -sigfile raw``.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from mongo_migration.support import plain_files

from . import record
from .names import SEAL, SIGNATURE

_LONGEST = 1000


def sign(folder: Path, private_key: str) -> None:
    """Sign the seal of *folder*.

    Raises:
        ValueError: *private_key* is not a private key of Ed25519 in PEM without a passphrase.
    """
    text = _sign((folder / SEAL).read_bytes(), private_key)
    record.write_text(folder / SIGNATURE, text)


def of_text(text: str, private_key: str) -> str:
    """Return the signature of *text*, in base64.

    Raises:
        ValueError: *private_key* is not a private key of Ed25519 in PEM without a passphrase.
    """
    return _sign(text.encode(), private_key)


def is_of_text(signature: str, text: str, public_key: str) -> bool:
    """Return whether *signature* was made of *text* with the private half of *public_key*.

    Raises:
        ValueError: *public_key* is not a public key of Ed25519 in PEM.
    """
    key = _public(public_key)
    try:
        key.verify(base64.b64decode(signature), text.encode())
    except (InvalidSignature, binascii.Error):
        return False
    return True


def verify(folder: Path, public_key: str) -> list[str]:
    """Return what is wrong with the signature of *folder*; empty when it is good.

    Raises:
        ValueError: *public_key* is not a public key of Ed25519 in PEM.
    """
    key = _public(public_key)
    try:
        signature = base64.b64decode(plain_files.read(folder / SIGNATURE, most=_LONGEST))
        key.verify(signature, plain_files.read(folder / SEAL))
    except FileNotFoundError:
        return [f"{SEAL} isn't signed: {SIGNATURE} is missing"]
    except (InvalidSignature, binascii.Error, OSError):
        return [f"the signature of {SEAL} isn't made with the key of this inventory"]
    return []


def _sign(data: bytes, private_key: str) -> str:
    try:
        key = load_pem_private_key(private_key.strip().encode(), password=None)
    except (ValueError, TypeError) as error:
        raise ValueError(_WRONG_PRIVATE) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(_WRONG_PRIVATE)
    return base64.b64encode(key.sign(data)).decode()


def _public(public_key: str) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(public_key.strip().encode())
    except ValueError as error:
        raise ValueError(_WRONG_PUBLIC) from error
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError(_WRONG_PUBLIC)
    return key


_WRONG_PRIVATE = (
    "vault_evidence_signing_key isn't a private key of Ed25519 in PEM without a passphrase; make "
    "one with: openssl genpkey -algorithm ed25519"
)
_WRONG_PUBLIC = (
    "evidence_public_key is not a public key of Ed25519 in PEM; it is what "
    "'openssl pkey -pubout' makes of the private one."
)
