"""One mail to the team, over the organization's own mail server; again where that says: later."""

from __future__ import annotations

import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.errors import MessageError
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from . import exchange
from .errors import MailError
from .patience import patiently

# A reply that begins with 4 means that the same may be taken later: RFC 5321, section 4.2.1.
_LATER = range(400, 500)
# Of the server, beside one for each recipient; each may take its time.
_ANSWERS = 10


@dataclass(frozen=True, kw_only=True)
class Server:
    """How the mail server is reached.

    Args:
        host: its name.
        port: its port.
        security: ``starttls``, ``tls`` (from the first byte) or ``none``.
        user: for its login; empty for none.
        password: of that user.
        ca_certs: file with the certificates to trust instead of the system's.
        timeout: seconds that it may take to answer.
        patience: seconds that waiting for a server which says "later" may take together.
    """

    host: str
    port: int
    security: str = "starttls"
    user: str = ""
    password: str = ""
    ca_certs: str = ""
    timeout: float = 10
    patience: float = 30


def compose(*, sender: str, to: Sequence[str], subject: str, body: str) -> EmailMessage:
    """Return the mail.

    Raises:
        MailError: an address can't be one.
    """
    message = EmailMessage()
    try:
        message["From"] = sender
        message["To"] = ", ".join(to)
        message["Subject"] = " ".join(subject.split())
    except (ValueError, IndexError, MessageError) as error:
        raise MailError(f"the mail can't be written: {error}") from error
    message["Date"] = formatdate(localtime=True)
    message["Message-ID"] = make_msgid()
    # Nobody's out-of-office reply is wanted.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(body)
    return message


class _LaterError(MailError):
    """The server takes nothing now, and may take it later."""


def send(
    message: EmailMessage,
    server: Server,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, str]:
    """Hand *message* to the server; return the recipients that it refused, with its words.

    Again, within a bound, to those for whom it asks for patience: a server that defers mail of
    strangers (greylisting), is busy or restarts. Nobody who has it is sent it twice.

    Raises:
        MailError: nobody will get it.
    """
    wanted = [address.addr_spec for address in message["To"].addresses]
    answers: dict[str, tuple[int, bytes]] = {}  # of those who didn't get it
    left = wanted

    def attempt() -> tuple[MailError | None, float | None]:
        nonlocal left
        try:
            refused = _once(message, server, left)
        except _LaterError as error:
            return error, 0
        except MailError as error:
            return error, None
        for who in left:
            answers.pop(who, None)
        answers.update(refused)
        left = [who for who, (code, _text) in refused.items() if code in _LATER]
        return None, 0 if left else None

    problem = patiently(attempt, seconds=server.patience, sleep=sleep, clock=clock)
    got_it = set(wanted) - set(left if problem else ()) - set(answers)
    if problem is not None and not got_it:
        raise problem
    if not got_it:
        said = ", ".join(f"{who} ({_words(why)})" for who, why in answers.items())
        raise MailError(f"{_where(server)} refuses every recipient: {said}")
    return {who: _words(why) for who, why in answers.items()}


def _where(server: Server) -> str:
    return f"the mail server {server.host}:{server.port}"


def _once(
    message: EmailMessage, server: Server, to: Sequence[str]
) -> Mapping[str, tuple[int, bytes]]:
    clock = exchange.Clock(server.timeout * (_ANSWERS + len(to)))
    try:
        return _handed_over(message, server, to, clock)
    except MailError as error:
        if clock.over:
            raise MailError(f"{_where(server)} doesn't answer: {clock.error()}") from error
        raise
    finally:
        clock.stop()


def _handed_over(
    message: EmailMessage, server: Server, to: Sequence[str], clock: exchange.Clock
) -> Mapping[str, tuple[int, bytes]]:
    where = _where(server)
    try:
        with _connect(server, clock) as connection:
            if server.user:
                connection.login(server.user, server.password)
            return connection.send_message(message, to_addrs=to)
    except smtplib.SMTPRecipientsRefused as error:
        return error.recipients
    except smtplib.SMTPResponseException as error:
        raise _refusal(error, server) from error
    except smtplib.SMTPException as error:
        raise MailError(f"{where} doesn't take the mail: {error}") from error
    except ssl.SSLError as error:
        raise MailError(f"{where} isn't trusted: {error.reason or error}") from error
    except OSError as error:
        raise MailError(f"{where} doesn't answer: {error.strerror or error}") from error


def _refusal(error: smtplib.SMTPResponseException, server: Server) -> MailError:
    kind = _LaterError if error.smtp_code in _LATER else MailError
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return kind(f"{_where(server)} refuses the login of '{server.user}'")
    return kind(f"{_where(server)} doesn't take the mail: {error}")


class _Plain(smtplib.SMTP):
    """Its connection is watched: a reply has as many lines as the server likes to send."""

    def __init__(self, server: Server, clock: exchange.Clock) -> None:
        self._watch = clock
        super().__init__(server.host, server.port, timeout=server.timeout)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._watch.connect((host, port), timeout)


class _Encrypted(smtplib.SMTP_SSL, _Plain):
    """The same, from its first byte."""

    def __init__(self, server: Server, clock: exchange.Clock, context: ssl.SSLContext) -> None:
        self._watch = clock
        smtplib.SMTP_SSL.__init__(
            self, server.host, server.port, timeout=server.timeout, context=context
        )


def _connect(server: Server, clock: exchange.Clock) -> smtplib.SMTP:
    context = ssl.create_default_context(cafile=server.ca_certs or None)
    if server.security == "tls":
        return _Encrypted(server, clock, context)
    connection = _Plain(server, clock)
    if server.security == "starttls":
        try:
            connection.starttls(context=context)
        except BaseException:
            connection.close()
            raise
    return connection


def _words(answer: tuple[int, bytes]) -> str:
    code, text = answer
    return f"{code} {text.decode('utf-8', 'replace')}"
