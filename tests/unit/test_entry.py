"""What every module's main() has in common."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import pytest
from bson import ObjectId
from mongo_migration import module_runner
from mongo_migration.errors import DefinitionError, MigrationError
from mongo_migration.server import connection
from pymongo.errors import OperationFailure


class EndedError(Exception):
    def __init__(self, *, failed: bool, result: dict[str, Any]) -> None:
        super().__init__(result)
        self.failed = failed
        self.result = result


class FakeModule:
    check_mode = False

    def __init__(self, **params: Any) -> None:
        self.params = {"uri": "mongodb://u:hidden@db/", "database": "bizzai", **params}
        self.no_log_values: set[str] = set()
        self.warnings: list[str] = []

    def exit_json(self, **result: Any) -> NoReturn:
        raise EndedError(failed=False, result=result)

    def fail_json(self, msg: str, **result: Any) -> NoReturn:
        raise EndedError(failed=True, result={"msg": msg, **result})

    def warn(self, warning: str) -> None:
        self.warnings.append(warning)


class FakeClient:
    closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    made = FakeClient()
    monkeypatch.setattr(connection, "connect", lambda _params: made)
    return made


def end_of(module: FakeModule, work: Any, **options: Any) -> EndedError:
    with pytest.raises(EndedError) as ended:
        module_runner.run(module, work, **options)
    return ended.value


def test_the_result_is_plain_and_the_client_is_closed(client: FakeClient) -> None:
    identity = ObjectId()

    end = end_of(FakeModule(), lambda _client, _module: {"changed": True, "_id": identity})

    assert not end.failed
    assert end.result == {"changed": True, "_id": {"$oid": str(identity)}}
    assert client.closed


def test_secrets_are_registered_before_anything_can_fail(client: FakeClient) -> None:
    module = FakeModule()

    end_of(module, lambda _client, _module: {})

    assert "hidden" in module.no_log_values


def test_an_error_of_ours_is_its_message_and_its_details(client: FakeClient) -> None:
    def fail(_client: Any, _module: Any) -> dict[str, Any]:
        raise MigrationError("It failed.", run="004-1", warnings=["mind"], _id=ObjectId("6" * 24))

    module = FakeModule()
    end = end_of(module, fail)

    assert end.failed
    assert end.result == {"msg": "It failed.", "run": "004-1", "_id": {"$oid": "6" * 24}}
    assert module.warnings == ["mind"]
    assert client.closed


def test_an_error_of_the_driver_is_one_sentence(client: FakeClient) -> None:
    def fail(_client: Any, _module: Any) -> dict[str, Any]:
        raise OperationFailure("not authorized on bizzai to execute command { … }", 13)

    end = end_of(FakeModule(), fail)

    assert end.failed
    assert end.result["msg"].startswith("MongoDB refused: not authorized on bizzai.")


def test_warnings_are_handed_to_ansible(client: FakeClient) -> None:
    module = FakeModule()

    end = end_of(module, lambda _client, _module: {"changed": False, "warnings": ["mind the gap"]})

    assert module.warnings == ["mind the gap"]
    assert end.result == {"changed": False}


def test_what_comes_before_runs_without_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "connect", lambda _params: pytest.fail("connected"))

    def refuse(_module: Any) -> None:
        raise DefinitionError("004.yml: no id")

    end = end_of(FakeModule(), lambda *_: {}, before=refuse)

    assert end.failed
    assert end.result["msg"] == "004.yml: no id"


def test_work_gets_what_came_before(client: FakeClient) -> None:
    end = end_of(
        FakeModule(),
        lambda _client, _module, prepared: {"prepared": prepared},
        before=lambda _module: "definition",
    )

    assert end.result == {"prepared": "definition"}


def test_without_a_definition_there_is_nothing_to_load() -> None:
    assert module_runner.load_definition(FakeModule(definition=None)) is None


def test_a_missing_library_is_named_with_the_python_that_lacks_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pymongo.errors", None)

    end = end_of(FakeModule(), lambda *_: {})

    assert end.failed
    assert "lacks the library 'pymongo.errors'" in end.result["msg"]
    assert sys.executable in end.result["msg"]


def test_a_library_that_only_the_work_needs_is_named_too(client: FakeClient) -> None:
    def work(_client: Any, _module: Any) -> dict[str, Any]:
        raise ModuleNotFoundError("No module named 'zlib_ng'", name="zlib_ng")

    end = end_of(FakeModule(), work)

    assert "lacks the library 'zlib_ng'" in end.result["msg"]
    assert client.closed
