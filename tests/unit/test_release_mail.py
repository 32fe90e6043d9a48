"""Mail to the team, against a real mail server."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer

import pytest
from release import mail
from release.errors import MailError

from embedded import certificates
from tests.support.mailbox import DEFERRED, REFUSED, Mailbox, mailbox

LOGIN = ("migrations", "hush-hush")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority, and a certificate of 'localhost'."""
    folder = tmp_path_factory.mktemp("tls")
    certificates.make(folder, ["localhost"])
    return folder


@pytest.fixture(scope="module")
def secure(certificate: Path) -> Iterator[Mailbox]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / certificates.SERVER)
    with mailbox(tls=context, login=LOGIN) as made:
        yield made


def letter(*to: str) -> mail.EmailMessage:
    return mail.compose(
        sender="migrations@example.com",
        to=to or ("team@example.com",),
        subject="Migration 004 begins\non bizzai",
        body="Grüße. The application is read-only.\n",
    )


def test_a_mail_arrives_as_it_was_written():
    with mailbox() as box:
        server = mail.Server(host="127.0.0.1", port=box.port, security="none", timeout=30)
        assert mail.send(letter(), server) == {}
    (mail_there,) = box.mails
    assert mail_there["Subject"] == "Migration 004 begins on bizzai"
    assert mail_there["To"] == "team@example.com"
    assert "Grüße" in mail_there.get_content()


def test_a_refused_address_is_named_and_the_others_get_it():
    with mailbox() as box:
        server = mail.Server(host="127.0.0.1", port=box.port, security="none", timeout=30)
        refused = mail.send(letter("team@example.com", REFUSED), server)
        with pytest.raises(MailError, match=f"refuses every recipient: {REFUSED}"):
            mail.send(letter(REFUSED), server)
    assert refused == {REFUSED: "550 no such user"}
    assert len(box.mails) == 1


def test_starttls_and_a_login(secure: Mailbox, certificate: Path):
    server = mail.Server(
        host="localhost",
        port=secure.port,
        user=LOGIN[0],
        password=LOGIN[1],
        ca_certs=str(certificate / certificates.CA),
        timeout=30,
    )
    mail.send(letter(), server)
    assert len(secure.mails) == 1


def test_a_wrong_password_is_told_without_it(secure: Mailbox, certificate: Path):
    server = mail.Server(
        host="localhost",
        port=secure.port,
        user=LOGIN[0],
        password="mistaken",
        ca_certs=str(certificate / certificates.CA),
        timeout=30,
    )
    with pytest.raises(MailError, match="refuses the login of 'migrations'") as told:
        mail.send(letter(), server)
    assert "mistaken" not in str(told.value)


def test_a_certificate_that_nobody_vouches_for_is_refused(secure: Mailbox):
    server = mail.Server(host="localhost", port=secure.port, timeout=30)
    with pytest.raises(MailError, match="isn't trusted"):
        mail.send(letter(), server)


def test_a_server_without_starttls_gets_nothing():
    with mailbox() as box:
        server = mail.Server(host="127.0.0.1", port=box.port, timeout=30)
        with pytest.raises(MailError, match="STARTTLS"):
            mail.send(letter(), server)
    assert box.mails == []


def test_a_dead_server_is_named():
    with pytest.raises(MailError, match=r"the mail server 127.0.0.1:1 doesn't answer"):
        mail.send(letter(), mail.Server(host="127.0.0.1", port=1))


def test_a_server_that_defers_is_asked_again_and_nobody_gets_a_mail_twice():
    with mailbox(deferrals=2) as box:
        server = mail.Server(host="127.0.0.1", port=box.port, security="none", timeout=30)
        waited: list[float] = []
        refused = mail.send(
            letter("team@example.com", DEFERRED, REFUSED), server, sleep=waited.append
        )
    assert refused == {REFUSED: "550 no such user"}
    assert [found["X-RcptTo"] for found in box.mails] == ["team@example.com", DEFERRED]
    assert waited == [1.0, 2.0]


def test_a_server_that_defers_for_longer_than_anybody_waits_is_told():
    with mailbox(deferrals=100) as box:
        server = mail.Server(
            host="127.0.0.1", port=box.port, security="none", timeout=30, patience=0
        )
        with pytest.raises(MailError, match=f"refuses every recipient: {DEFERRED} .451 later"):
            mail.send(letter(DEFERRED), server)
    assert box.mails == []


def test_a_server_that_talks_for_ever_keeps_nobody():
    """Each line comes within the time-out, and none of them is the last."""
    over = threading.Event()

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                while not over.wait(0.02):
                    self.request.sendall(b"220-and more\r\n")

    said: list[str] = []

    def send() -> None:
        with pytest.raises(MailError) as refused:
            mail.send(letter(), server)
        said.append(str(refused.value))

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as talking:
        talking.daemon_threads = True
        threading.Thread(target=talking.serve_forever, daemon=True).start()
        port = talking.server_address[1]
        server = mail.Server(host="127.0.0.1", port=port, security="none", timeout=0.1)
        sending = threading.Thread(target=send, daemon=True)
        sending.start()
        sending.join(30)
        over.set()
        talking.shutdown()
    assert said, "it still listens"
    assert "doesn't answer: the answer wasn't complete within" in said[0]
