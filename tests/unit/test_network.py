"""Requests against real HTTP servers: where keys go, and what answers are taken."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

import pytest
from mongo_migration.monitor import apps
from release import bounded_json, http_probe, ticket, webhook
from release.application import calls

KEYS = {
    "Authorization": "Bearer key-1",
    "X-Api-Key": "key-2",
    "Cookie": "sid=key-3",
    "Foo": "key-4",
}


@dataclass
class Server:
    """Answers everything, redirects `/away?URL`, and remembers the headers that it was shown."""

    url: str
    answer: bytes = b'{"ok": true}'
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    # What the next requests get instead of the answer: a status and headers.
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)


@contextmanager
def listening() -> Iterator[Server]:
    made: list[Server] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            made[0].seen.append((f"{self.command} {self.path}", dict(self.headers.items())))
            path, _mark, target = self.path.partition("?")
            if made[0].refusals:
                status, headers = made[0].refusals.pop(0)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": "0"}.items():
                    self.send_header(name, value)
                self.end_headers()
            elif path == "/away":
                self.send_response(302)
                self.send_header("Location", target)
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self.send_response(200)
                self.send_header("Content-Length", str(len(made[0].answer)))
                self.end_headers()
                self.wfile.write(made[0].answer)

        do_POST = do_GET  # noqa: N815 - the server's name

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
            """Be silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.append(Server(f"http://127.0.0.1:{server.server_port}"))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield made[0]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    with ExitStack() as stack:
        yield stack.enter_context(listening()), stack.enter_context(listening())


def request(url: str, **options: Any) -> http_probe.Request:
    return http_probe.Request(name="x", url=url, headers=KEYS, **options)


def test_no_key_follows_a_redirect_to_another_host(servers: tuple[Server, Server]):
    ours, theirs = servers

    assert http_probe.send(request(f"{ours.url}/away?{theirs.url}/here")) == ""

    ((path, headers),) = theirs.seen
    assert path == "GET /here"
    assert "key-" not in str(headers)
    assert "key-1" in str(ours.seen)


def test_keys_follow_a_redirect_on_the_same_host(servers: tuple[Server, Server]):
    ours, _theirs = servers

    assert http_probe.send(request(f"{ours.url}/away?/here")) == ""

    assert ours.seen[1][0] == "GET /here"
    assert all(value in ours.seen[1][1].values() for value in KEYS.values())


@pytest.mark.parametrize("target", ["/here", "ftp://127.0.0.1/x", "file:///etc/passwd"])
def test_a_write_is_redirected_nowhere_and_a_read_to_http_alone(
    servers: tuple[Server, Server], target: str
):
    ours, _theirs = servers
    method = "POST" if target == "/here" else "GET"

    said = http_probe.send(request(f"{ours.url}/away?{target}", method=method, body={"a": 1}))

    assert said == "status 302, not 200"
    assert len(ours.seen) == 1


def test_a_ticket_systems_redirect_is_followed_nowhere(servers: tuple[Server, Server]):
    ours, theirs = servers
    system = {"url": f"{ours.url}/away?{theirs.url}", "headers": KEYS, "expect": [EXPECTED]}

    assert "answered 302" in ticket.ask(system, "CHG1")[0]
    assert theirs.seen == []


EXPECTED = {"path": "ok", "value": True}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "nested deeper than 100 levels"),
        (b'{"a":' * 150 + b"1" + b"}" * 150, "nested deeper than 100 levels"),
        (b'"' + b"x" * bounded_json.LONGEST + b'"', "longer than 5,000,000 bytes"),
        (b"<html>", "not JSON"),
        (b"\xff\xfe{", "not JSON"),
    ],
    ids=["endless", "deep", "long", "html", "no text"],
)
def test_a_ticket_systems_answer_is_bounded(
    servers: tuple[Server, Server], answer: bytes, message: str
):
    ours, _theirs = servers
    ours.answer = answer

    (problem,) = ticket.ask({"url": ours.url, "expect": [EXPECTED]}, "CHG1")

    assert message in problem
    assert len(problem) < 300


def test_what_is_deep_enough_for_people_is_taken():
    text = "[" * 99 + "1" + "]" * 99

    assert json.dumps(bounded_json.parse(text)) == text


def post(url: str, waited: list[float], **options: Any) -> webhook.Posted:
    message = webhook.Message(url=url, body={"text": "x"}, **options)
    return webhook.post(message, sleep=waited.append, clock=lambda: sum(waited))


def test_a_channel_that_asks_for_patience_gets_the_message_later(servers: tuple[Server, Server]):
    ours, _theirs = servers
    ours.answer = b'{"id": 4711}'
    ours.refusals = [(429, {"Retry-After": "3"}), (503, {})]
    waited: list[float] = []

    posted = post(ours.url, waited, headers={"X-Api-Key": "k"})

    assert posted == webhook.Posted(status=200, id="4711")
    assert waited == [3.0, 2.0]
    assert len(ours.seen) == 3


@pytest.mark.parametrize("later", ["3600", "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_patience_has_a_bound(servers: tuple[Server, Server], later: str):
    ours, _theirs = servers
    ours.refusals = [(429, {"Retry-After": later})] * 3
    waited: list[float] = []

    posted = post(ours.url, waited, patience=30)

    assert posted.status == 429
    assert "asks to wait" in posted.problem
    assert waited == []
    assert len(ours.seen) == 1


def test_a_channel_that_never_lets_one_through_is_given_up(servers: tuple[Server, Server]):
    ours, _theirs = servers
    ours.refusals = [(429, {"Retry-After": "nonsense"})] * 100
    waited: list[float] = []

    assert post(ours.url, waited, patience=20).status == 429
    assert sum(waited) <= 20
    assert len(ours.seen) < 10


@pytest.mark.parametrize("status", [400, 403, 404, 500, 302])
def test_a_refusal_is_no_reason_to_ask_again(servers: tuple[Server, Server], status: int):
    ours, theirs = servers
    ours.refusals = [(status, {"Location": theirs.url})]

    posted = post(ours.url, [])

    assert posted == webhook.Posted(status=status, problem=f"status {status}")
    assert len(ours.seen) == 1
    assert theirs.seen == []


def test_a_dead_channel_is_no_answer_and_an_odd_one_has_no_id(servers: tuple[Server, Server]):
    ours, _theirs = servers
    ours.answer = b"[" * 100_000

    assert post("http://127.0.0.1:1/secret", []) == webhook.Posted(problem="no answer")
    assert post("nonsense", []) == webhook.Posted(problem="no answer")
    assert post(ours.url, []) == webhook.Posted(status=200)


# What a server may send for ever, each byte within every time-out of a socket.
ENDLESS = {
    "a body": (b"HTTP/1.1 200 OK\r\n\r\n", b" "),
    "a body of an error": (b"HTTP/1.1 500 No\r\n\r\n", b" "),
    "a header": (b"HTTP/1.1 200 OK\r\nX-", b"x"),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}
NO_HTTP = (
    b"\x00\xff\x1b[2J\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFF\r\nx",
)


@contextmanager
def sending(begin: bytes, again: bytes = b"") -> Iterator[str]:
    """Answer every connection with *begin*, and then with *again*, again and again."""
    over = threading.Event()

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.request.recv(65536)
                self.request.sendall(begin)
                while again and not over.wait(0.02):
                    self.request.sendall(again)

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        over.set()
        server.shutdown()


CALLERS: dict[str, Callable[[str], str]] = {
    "a smoke test": lambda url: http_probe.send(
        http_probe.Request(name="x", url=url, headers={}, seconds=0.5)
    ),
    "an application's flag": lambda url: calls.Request(url=url, seconds=0.5).send().problem,
    "the monitor": lambda url: str(apps.App("x", url=url, timeout=0.5).look()["error"]),
    "the ticket system": lambda url: ticket.ask(
        {"url": url, "expect": [EXPECTED], "timeout": 0.5}, "CHG1"
    )[0],
    "a webhook": lambda url: webhook.post(webhook.Message(url=url, body={}, timeout=0.5)).problem,
}


def ended(work: Callable[[], str]) -> str:
    """Return what *work* says; fail where it never ends."""
    said: list[str] = []
    working = threading.Thread(target=lambda: said.append(work()), daemon=True)
    working.start()
    working.join(30)
    assert said, "it still waits, or ended in a traceback"
    return said[0]


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("what", ENDLESS)
def test_an_answer_without_end_keeps_nobody(what: str, caller: str):
    with sending(*ENDLESS[what]) as url:
        said = ended(lambda: CALLERS[caller](url))
    assert "wasn't complete within 0.5 s" in said or said == "no answer"


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("answer", NO_HTTP)
def test_what_is_no_http_is_no_answer(answer: bytes, caller: str):
    with sending(answer) as url:
        assert ended(lambda: CALLERS[caller](url))
