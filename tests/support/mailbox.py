"""A real mail server that keeps what it is given."""

from __future__ import annotations

import ssl
from asyncio.base_events import Server
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

REFUSED = "gone@example.com"
# Not taken at first.
DEFERRED = "new@example.com"


@dataclass
class Mailbox:
    """What was delivered, in order."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)


class _Handler:
    def __init__(self, mailbox: Mailbox, deferrals: int) -> None:
        self._mailbox = mailbox
        self._deferrals = deferrals

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        if address == REFUSED:
            return "550 no such user"
        if address == DEFERRED and self._deferrals:
            self._deferrals -= 1
            return "451 later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        mail = message_from_bytes(envelope.original_content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        mail["X-RcptTo"] = ", ".join(envelope.rcpt_tos)
        self._mailbox.mails.append(mail)
        return "250 OK"


class _Controller(Controller):
    """Speaks TLS after STARTTLS, and asks for a login where there is one."""

    def __init__(self, handler: Any, tls: ssl.SSLContext | None, login: tuple[str, str] | None):
        self._tls, self._login = tls, login
        super().__init__(handler, hostname="127.0.0.1", port=0, ready_timeout=60)

    def factory(self) -> SMTP:
        def check(_server: Any, _session: Any, _envelope: Any, _method: str, data: Any) -> Any:
            assert isinstance(data, LoginPassword)
            given = (data.login.decode(), data.password.decode())
            good = given == self._login
            # Not handled: the server itself answers with 535.
            return AuthResult(success=good, handled=good)

        return SMTP(
            self.handler,
            tls_context=self._tls,
            require_starttls=self._tls is not None,
            auth_required=self._login is not None,
            auth_require_tls=self._tls is not None,
            authenticator=check if self._login else None,
        )

    def _trigger_server(self) -> None:
        """Learn the port that the system chose before anybody connects to it."""
        assert isinstance(self.server, Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]  # as aiosmtpd has it


@contextmanager
def mailbox(
    *,
    tls: ssl.SSLContext | None = None,
    login: tuple[str, str] | None = None,
    deferrals: int = 0,
) -> Iterator[Mailbox]:
    """Take mail while the block runs."""
    made = Mailbox()
    controller = _Controller(_Handler(made, deferrals), tls, login)
    controller.start()
    made.port = controller.port
    try:
        yield made
    finally:
        controller.stop()
