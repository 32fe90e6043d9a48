"""One mail to the team, over the organization's own mail server."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from email.errors import MessageError
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from .errors import MailError


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
    """

    host: str
    port: int
    security: str = "starttls"
    user: str = ""
    password: str = ""
    ca_certs: str = ""
    timeout: float = 10


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


def send(message: EmailMessage, server: Server) -> dict[str, str]:
    """Hand *message* to the server; return the recipients that it refused, with its words.

    Raises:
        MailError: nobody will get it.
    """
    where = f"the mail server {server.host}:{server.port}"
    try:
        with _connect(server) as connection:
            if server.user:
                connection.login(server.user, server.password)
            refused = connection.send_message(message)
    except smtplib.SMTPAuthenticationError as error:
        raise MailError(f"{where} refuses the login of '{server.user}'") from error
    except smtplib.SMTPRecipientsRefused as error:
        said = ", ".join(f"{who} ({_words(why)})" for who, why in error.recipients.items())
        raise MailError(f"{where} refuses every recipient: {said}") from error
    except smtplib.SMTPException as error:
        raise MailError(f"{where} doesn't take the mail: {error}") from error
    except ssl.SSLError as error:
        raise MailError(f"{where} isn't trusted: {error.reason or error}") from error
    except OSError as error:
        raise MailError(f"{where} doesn't answer: {error.strerror or error}") from error
    return {who: _words(why) for who, why in refused.items()}


def _connect(server: Server) -> smtplib.SMTP:
    context = ssl.create_default_context(cafile=server.ca_certs or None)
    if server.security == "tls":
        return smtplib.SMTP_SSL(server.host, server.port, timeout=server.timeout, context=context)
    connection = smtplib.SMTP(server.host, server.port, timeout=server.timeout)
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
