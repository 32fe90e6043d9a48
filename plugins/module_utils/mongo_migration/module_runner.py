"""What every module's ``main()`` has in common, told of Ansible only by a protocol."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

from .support import requirements

# Before a module imports more of the engine, which only a Python that is new enough can read.
requirements.require()

from .support import attended


class Module(Protocol):
    """The part of AnsibleModule that the engine's entry uses."""

    params: dict[str, Any]
    check_mode: bool
    no_log_values: set[str]

    def exit_json(self, **result: Any) -> NoReturn:
        """End with success."""

    def fail_json(self, msg: str, **result: Any) -> NoReturn:
        """End with failure."""

    def warn(self, warning: str) -> None:
        """Show a warning, and return it with the result."""


def run(
    module: Module,
    work: Callable[..., dict[str, Any]],
    *,
    before: Callable[[Module], Any] | None = None,
) -> NoReturn:
    """Connect, do *work*, and end the module with its result or with one clear message.

    Args:
        module: the AnsibleModule.
        work: called with a connected client and the module, and with what *before* returned if
            there is one; returns the module's result.
        before: what can be done, and can fail, before anything connects.
    """
    if lacking := requirements.problem():
        module.fail_json(msg=lacking)
    if not getattr(module, "_keep_remote_files", False):
        attended.forget_payload()
    with attended.attended(module.params.get("progress_file")) as file:
        if "progress_file" in module.params:
            module.params["progress_file"] = file
        _run(module, work, before)


def _run(
    module: Module, work: Callable[..., dict[str, Any]], before: Callable[[Module], Any] | None
) -> NoReturn:
    try:
        from bson.errors import BSONError
        from pymongo.errors import PyMongoError

        from .errors import MigrationError
        from .procedures import undecodable
        from .server import connection
        from .support import secrets
        from .values import ejson
    except ImportError as error:
        _fail_for_missing_library(module, error)
    # Ansible masks what it was given; programs and servers repeat it in other spellings.
    module.no_log_values |= secrets.substrings(module.no_log_values)
    module.no_log_values |= connection.secrets(module.params)
    try:
        prepared = (before(module),) if before else ()
        client = connection.connect(module.params)
        for warning in connection.warnings(module.params):
            module.warn(warning)
        try:
            result = work(client, module, *prepared)
        except BSONError as error:
            raise undecodable.named(client[module.params["database"]], error) from error
        finally:
            client.close()
    except ImportError as error:
        _fail_for_missing_library(module, error)
    except MigrationError as error:
        module.fail_json(msg=error.message, **_warned(module, ejson.to_plain(error.details)))
    except PyMongoError as error:
        module.fail_json(msg=connection.explain(error))
    module.exit_json(**_warned(module, ejson.to_plain(result)))


def load_definition(module: Module) -> Any:
    """Return the definition of the module's options, or ``None`` if it may be and is left out."""
    from .document import definition

    p = module.params
    if p["definition"] is None:
        return None
    return definition.load(
        p["definition"],
        p["definition_name"],
        variables=p["variables"],
        collections=p["collections"],
        assume_applied=p["assume_applied"],
    )


def job(client: Any, module: Module, **settings: Any) -> Any:
    """Return the ``Job`` that the module's options ask for; from now on it hears signals.

    Args:
        client: connected.
        module: with ``argument_specs.RUN_OPTIONS``.
        settings: what its ``Settings`` get beside those.
    """
    from .support import progress, stop

    p = module.params
    return _job(
        module,
        settings,
        client=client,
        database=p["database"],
        progress=progress.sink(p["progress_file"]),
        stop=stop.listen(),
    )


def fleet(client: Any, module: Module) -> Any:
    """Return the ``Fleet`` that the module's options mean, or ``None`` for one database.

    From now on it hears signals.

    Args:
        client: connected.
        module: with ``argument_specs.FLEET_OPTIONS``.

    Raises:
        SelectionError: they name no databases.
    """
    p = module.params
    if p["fleet"] is None:
        return None
    from .fleet.fleet import Options, assemble
    from .server import connection
    from .support import progress, stop

    return assemble(
        client,
        Options(**p["fleet"]),
        home=p["database"],
        connect=lambda: connection.connect(p),
        progress=progress.sink(p.get("progress_file")),
        stop=stop.listen(),
        operator=operator(),
    )


def job_in_lane(module: Module, **settings: Any) -> Callable[[Any, str], Any]:
    """Return what makes the ``Job`` of one database of a fleet, in its lane.

    Args:
        module: with ``argument_specs.RUN_OPTIONS``.
        settings: what its ``Settings`` get beside those.
    """

    def make(lane: Any, database: str) -> Any:
        return _job(
            module,
            settings,
            client=lane.client,
            database=database,
            progress=lane.progress,
            stop=lane.stop,
        )

    return make


def _job(module: Module, settings: dict[str, Any], **place: Any) -> Any:
    """Return a ``Job`` of the module's options, done by the process that asks for it."""
    from .ledger.batches import Settings
    from .procedures.work import Job

    p = module.params
    return Job(
        settings=Settings.of(p, **settings), change=p["change"], operator=operator(), **place
    )


def operator() -> dict[str, Any]:
    """Return who runs this process, for the lease and the changelog."""
    return {
        "user": os.environ.get("SUDO_USER") or getpass.getuser(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
    }


def _warned(module: Module, result: dict[str, Any]) -> dict[str, Any]:
    """Hand the warnings of *result* to Ansible, which returns them under the same name."""
    for warning in result.get("warnings") or ():
        module.warn(warning)
    return {key: value for key, value in result.items() if key != "warnings"}


def _fail_for_missing_library(module: Module, error: ImportError) -> NoReturn:
    module.fail_json(
        msg=requirements.problem()
        or f"{sys.executable} lacks the library '{error.name}'. Install what the project asks "
        "for there, or point ansible_python_interpreter at a Python that has them.",
    )
