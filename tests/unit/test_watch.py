"""Watching an application: what counts as an error, as slow, and when a verdict is due."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from release.http_probe import Limits, Request, Tally, judge, measure, observe, percentile, send


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def tally(requests: int, errors: int = 0, ms: float = 10.0) -> Tally:
    """Return what is known of one request."""
    return {
        "items": {
            "requests": requests,
            "errors": errors,
            "ms": [ms] * (requests - errors),
            "problems": {"status 500, not 200": errors} if errors else {},
        }
    }


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A real server: /good answers, /bad fails, /moved leads to /good."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/good")
            else:
                self.send_response(500 if self.path == "/bad" else 200)
            body = (self.headers.get("X-Key") or "hello").encode()
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            """Be silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as real:
        thread = threading.Thread(target=real.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{real.server_port}"
        real.shutdown()
        thread.join()


def request(url: str, **options: object) -> Request:
    return Request(**{"name": "items", "url": url, "headers": {}, **options})  # type: ignore[arg-type]


def test_a_right_answer_is_no_problem(server: str) -> None:
    assert send(request(f"{server}/good", contains="hello")) == ""
    assert send(request(f"{server}/moved", contains="hello")) == ""
    assert send(request(f"{server}/good", headers={"X-Key": "k"}, contains="k")) == ""
    assert send(request(f"{server}/bad", status=500)) == ""


def test_a_wrong_answer_is_named(server: str) -> None:
    assert send(request(f"{server}/bad")) == "status 500, not 200"
    assert send(request(f"{server}/good", contains="bye")) == "lacks 'bye'"
    assert send(request("http://127.0.0.1:1/")).startswith("no answer: ")
    assert send(request("nonsense")).startswith("no answer: ")


def test_each_request_is_sent_at_the_interval_for_the_time_that_was_asked() -> None:
    clock = Clock()
    seen = observe(
        [request("a"), request("b", name="other")],
        seconds=10,
        interval=2,
        send=lambda _request: "",
        clock=clock,
        sleep=clock.sleep,
    )
    assert {name: entry["requests"] for name, entry in seen.items()} == {"items": 5, "other": 5}


def test_a_watch_goes_on_from_the_tally_of_before() -> None:
    clock = Clock()
    earlier = tally(10, errors=2)
    seen = observe(
        [request("a")],
        seconds=0,
        interval=1,
        earlier=earlier,
        send=lambda _request: "status 502, not 200",
        clock=clock,
        sleep=clock.sleep,
    )
    assert seen["items"]["requests"] == 11
    assert seen["items"]["errors"] == 3
    assert seen["items"]["problems"] == {"status 500, not 200": 2, "status 502, not 200": 1}
    assert earlier["items"]["requests"] == 10


def test_errors_beyond_the_limit_are_wrong_and_say_why() -> None:
    (words,) = judge(tally(100, errors=5), limits=Limits(error_rate=0.01), before={})
    assert "items failed 5 of 100 times (5.0%, allowed 1.0%)" in words
    assert "status 500, not 200 (5 times)" in words


def test_errors_that_were_there_before_are_no_fault_of_the_release() -> None:
    limits = Limits(error_rate=0.01)
    assert judge(tally(100, errors=5), limits=limits, before=tally(100, errors=5)) == []
    assert judge(tally(100, errors=8), limits=limits, before=tally(100, errors=5))


def test_one_error_in_the_first_seconds_is_not_the_end() -> None:
    limits = Limits(error_rate=0.01)
    assert judge(tally(10, errors=1), limits=limits, before={}, done=0.05) == []
    assert judge(tally(10, errors=1), limits=limits, before={}, done=1.0)


def test_what_can_not_become_right_any_more_is_wrong_before_the_end() -> None:
    assert judge(tally(10, errors=10), limits=Limits(error_rate=0.01), before={}, done=0.05)


def test_slower_than_before_is_wrong_only_above_the_floor() -> None:
    limits = Limits(slowdown=3, floor_ms=100)
    before = tally(50, ms=40)
    assert judge(tally(50, ms=110), limits=limits, before=before) == []
    (words,) = judge(tally(50, ms=200), limits=limits, before=before)
    assert "the 95th percentile is 200 ms, 120 ms allowed (it was 40 ms before)" in words
    assert judge(tally(50, ms=90), limits=limits, before=tally(50, ms=2)) == []


def test_the_limit_of_the_setting_holds_without_a_before() -> None:
    (words,) = judge(tally(50, ms=900), limits=Limits(response_ms=500), before={})
    assert "500 ms allowed (by the setting)" in words


def test_a_few_slow_answers_are_within_the_percentile() -> None:
    mixed = tally(100, ms=10)
    mixed["items"]["ms"][:5] = [5000.0] * 5
    assert judge(mixed, limits=Limits(response_ms=500, percentile=95), before={}) == []
    mixed["items"]["ms"][:6] = [5000.0] * 6
    assert judge(mixed, limits=Limits(response_ms=500, percentile=95), before={})


def test_the_figures_are_those_of_all_requests() -> None:
    both = {**tally(10, errors=1), "other": {**tally(10)["items"], "ms": [50.0] * 10}}
    assert measure(both) == {
        "requests": 20,
        "errors": 1,
        "error_rate": 0.05,
        "response_ms": 50.0,
    }
    assert measure(tally(3, errors=3))["response_ms"] is None


def test_percentiles() -> None:
    assert percentile(range(1, 101), 95) == 95
    assert percentile([7], 95) == 7
    assert percentile([], 95) == 0
