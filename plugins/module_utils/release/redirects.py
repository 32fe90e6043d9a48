"""Which redirects an HTTP request follows, and with what. Standard library of Python 3.9."""

from __future__ import annotations

import urllib.parse
import urllib.request
from typing import Any

_READING = frozenset({"GET", "HEAD"})
_SCHEMES = frozenset({"http", "https"})
# What may be told to anybody; any other header may be a key, whatever it is called.
_OPEN = frozenset({"accept", "accept-language", "user-agent"})


class Nowhere(urllib.request.HTTPRedirectHandler):
    """Follows none: the answer is an error then."""

    def redirect_request(self, *_arguments: Any, **_options: Any) -> None:
        """Follow none."""


class SameOrigin(urllib.request.HTTPRedirectHandler):
    """Follows redirects of requests that only read, and hands their headers to no other origin.

    Another scheme, host or port is another origin: a key that is meant for one must not be shown to
    the other, and least of all without encryption.
    """

    def redirect_request(
        self, req: urllib.request.Request, *about: Any
    ) -> urllib.request.Request | None:
        """Return the next request, or None where the redirect itself is the answer."""
        newurl = str(about[-1])
        if req.get_method() not in _READING or urllib.parse.urlsplit(newurl).scheme not in _SCHEMES:
            return None
        made = super().redirect_request(req, *about)
        if made is not None and _origin(newurl) != _origin(req.full_url):
            for name in list(made.headers):
                if name.lower() not in _OPEN:
                    made.remove_header(name)
        return made


def _origin(url: str) -> tuple[str, str, int]:
    parts = urllib.parse.urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts.scheme, (parts.hostname or "").lower(), port
