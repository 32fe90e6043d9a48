"""A MongoDB connection string: its parts, its secrets, and which of its options are obeyed.

A connection string is often the application's, and says how an application likes to read and
write: from a secondary, without waiting, for two seconds at most. A migration that obeyed it would
be wrong without any error. So a string says where the servers are, how to log in and how to
encrypt, and nothing else: :data:`OBEYED` is what it may say, and every other option, of today's
drivers or of tomorrow's, is taken out and reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote_plus, unquote_plus

# In lower case: a driver doesn't tell Tls from tls.
CERTIFICATE_CHECKS = (
    "tlsInsecure",
    "tlsAllowInvalidCertificates",
    "tlsAllowInvalidHostnames",
    "tlsDisableOCSPEndpointCheck",
)
CERTIFICATE_FILES = (
    "tlsCAFile",
    "tlsCertificateKeyFile",
    "tlsCertificateKeyFilePassword",
    "tlsCRLFile",
)
OBEYED = frozenset(
    name.lower()
    for name in (
        *("replicaSet", "directConnection", "loadBalanced"),
        *("srvServiceName", "srvMaxHosts", "srvAllowedHostsSuffix"),
        *("authSource", "authMechanism", "authMechanismProperties"),
        *("tls", "ssl", *CERTIFICATE_CHECKS, *CERTIFICATE_FILES),
        *("compressors", "zlibCompressionLevel"),
    )
)
# What is set by us, whatever the string says, where the string may rightly say the same.
_SAME_AS_OURS = {
    "readpreference": {"primary"},
    "w": {"majority"},
    "retrywrites": {"true"},
    "retryreads": {"true"},
    "journal": {"true"},
    "readconcernlevel": {"local"},
    "uuidrepresentation": {"unspecified"},
}
_LONGEST_VALUE = 40

# A connection string whose parts can be told apart. One whose password holds an unescaped / or @
# doesn't match, because then a part of the password looks like a host.
_PARTS = re.compile(
    r"^mongodb(?:\+srv)?://(?:(?P<user>[^:/?@]*)(?::(?P<password>[^/?@]*))?@)?"
    r"(?P<hosts>[^/?@]+)(?:/(?P<database>[^/?@]*))?(?:[/?][^@]*)?$"
)
_SECRET_IN_QUERY = re.compile(
    r"(?:tlsCertificateKeyFilePassword=|AWS_SESSION_TOKEN:)([^&,]+)", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option as it is written in a connection string."""

    name: str
    value: str

    def __str__(self) -> str:
        shown = self.value if len(self.value) <= _LONGEST_VALUE else f"{self.value[:37]}..."
        return f"{self.name}={shown}"


def is_well_formed(uri: str) -> bool:
    """Return whether the parts of *uri* can be told apart, so that none is shown by mistake."""
    return _PARTS.match(uri) is not None


def hosts(uri: str) -> str:
    """Return the addresses in *uri*, without any secret."""
    parts = _PARTS.match(uri)
    return parts["hosts"] if parts else "the given uri"


def user(uri: str) -> str:
    """Return who logs in with *uri*."""
    parts = _PARTS.match(uri)
    return unquote_plus(parts["user"] or "") if parts else "nobody"


def database(uri: str) -> str:
    """Return the database that *uri* names; empty where it names none."""
    parts = _PARTS.match(uri)
    return unquote_plus(parts["database"] or "") if parts else ""


def with_password(uri: str, password: str) -> str:
    """Return *uri*, whose user has no password, with *password* as any client reads it."""
    user_, _at, rest = uri.partition("@")
    return f"{user_.removesuffix(':')}:{quote_plus(password)}@{rest}"


def has_password(uri: str) -> bool:
    """Return whether the user of *uri* has a password there."""
    parts = _PARTS.match(uri)
    return bool(parts and parts["password"])


def secrets(uri: str) -> Iterator[str]:
    """Yield every text in *uri* that may be a secret, as it is written there."""
    rest = uri.partition("://")[2]
    # The password may itself hold an unescaped colon, slash or @: take every reading.
    for position, character in enumerate(rest):
        if character == "@":
            yield rest[:position].partition(":")[2]
    for match in _SECRET_IN_QUERY.finditer(uri):
        yield match.group(1)


def options(uri: str) -> dict[str, Option]:
    """Return the options in *uri* that are obeyed, by their names in lower case."""
    return {
        option.name.lower(): Option(name=option.name, value=unquote_plus(option.value))
        for option in _written(uri)
        if option.name.lower() in OBEYED
    }


def obeyed(uri: str) -> str:
    """Return *uri* without the options that aren't obeyed."""
    address, mark, query = uri.partition("?")
    kept = [part for part in _split(query) if "=" not in part or _name(part).lower() in OBEYED]
    # What the driver can't read is left to it: it says what is wrong.
    return address + mark + _separator(query).join(kept) if kept else address


def overridden(uri: str) -> list[Option]:
    """Return the options in *uri* that ask for something else than what is done."""
    return [
        option
        for option in _written(uri)
        if option.name.lower() not in OBEYED
        and option.value.lower() not in _SAME_AS_OURS.get(option.name.lower(), ())
    ]


def _written(uri: str) -> Iterator[Option]:
    for part in _split(uri.partition("?")[2]):
        name, equals, value = part.partition("=")
        if equals:
            yield Option(name=name, value=value)


def _split(query: str) -> list[str]:
    return [part for part in query.split(_separator(query)) if part]


def _separator(query: str) -> str:
    return ";" if ";" in query and "&" not in query else "&"


def _name(part: str) -> str:
    return part.partition("=")[0]
