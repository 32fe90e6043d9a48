"""Certificates of a sandbox's own: one authority, and one for its servers."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .files import private_folder, write_private

CA = "ca.pem"
SERVER = "server.pem"  # certificate and key in one file, as mongod wants them
_DAYS = 30


def make(folder: Path, hosts: Sequence[str]) -> None:
    """Make an authority and a server's certificate for these hosts, unless they are there.

    Args:
        folder: gets ca.pem and server.pem.
        hosts: names and addresses that clients connect to.
    """
    if (folder / SERVER).exists():
        return
    private_folder(folder)
    authority, key = _name("sandbox authority"), ec.generate_private_key(ec.SECP256R1())
    root = (
        _builder(authority, authority, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    server_key = ec.generate_private_key(ec.SECP256R1())
    server = (
        _builder(_name("sandbox server"), authority, server_key.public_key())
        .add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    # The authority's key is forgotten: nobody needs a second certificate of it.
    write_private(folder / CA, root.public_bytes(pem).decode())
    private = server_key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(folder / SERVER, (server.public_bytes(pem) + private).decode())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # Clocks of containers may be a little behind.
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=_DAYS))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
