"""Instances of the small HTTP application: start, stop, restart, reload, look at them.

    python -m embedded.app start --folder .sandbox/apps --name app1 --port 5000 --uri-file FILE
    python -m embedded.app restart|reload|stop|status --folder .sandbox/apps --name app1

The folder holds, for each instance: NAME.json (how it was started), NAME.pid, NAME.log (access
log), NAME.env, the maintenance flag, unless --flag names another file, and NAME.token, what an
administrator shows where the flag is of the kind http.
"""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from .app_flags import KINDS
from .files import private_folder, read_json, write_json, write_private
from .processes import LOOPBACK, Process, ProcessError, free_ports, spawn, wait_until

ROOT = Path(__file__).resolve().parent.parent
PORT = 5000


@dataclass(frozen=True)
class Reply:
    """What an instance answered."""

    status: int
    content: dict[str, Any]


class App:
    """One instance, found by its folder and name.

    Args:
        folder: where its state and log are.
        name: of the instance.
        port: None takes the recorded one, or a free one.
        uri_file: a file with the URI in it: a URI in the process list would show the password.
        flag: the maintenance flag file.
        flag_kind: how it learns of maintenance mode, one of app_flags.KINDS.
        writes_per_second: of the background writer.
    """

    def __init__(
        self,
        folder: Path | str,
        name: str,
        *,
        port: int | None = None,
        uri_file: Path | str | None = None,
        flag: Path | str | None = None,
        flag_kind: str | None = None,
        writes_per_second: float | None = None,
    ):
        self.folder = private_folder(Path(folder).absolute())
        self.name = name
        self._state_file = self.folder / f"{name}.json"
        recorded = read_json(self._state_file) or {}
        self.port = int(port or recorded.get("port") or free_ports(1)[0])
        self.flag = Path(flag or recorded.get("flag") or self.folder / f"{name}.env").absolute()
        self.flag_kind = flag_kind or str(recorded.get("flag_kind") or "env")
        given = uri_file or recorded.get("uri_file")
        self.uri_file = Path(given).absolute() if given else None
        if writes_per_second is None:
            writes_per_second = recorded.get("writes_per_second", 0.0)
        self.writes_per_second = float(writes_per_second)
        self._process = Process.load(recorded.get("process"))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def token(self) -> str:
        """What an administrator of this instance shows."""
        file = self.folder / f"{self.name}.token"
        if not file.exists():
            write_private(file, secrets.token_urlsafe(18))
        return file.read_text()

    @property
    def log(self) -> Path:
        """The access log."""
        return self.folder / f"{self.name}.log"

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.alive

    @property
    def pid(self) -> int | None:
        """The process id."""
        return self._process.pid if self._process and self.alive else None

    def start(self) -> Self:
        """Start it, unless it runs; return when it answers."""
        if self.alive:
            return self
        if self.uri_file is None:
            raise ProcessError(f"{self.name} was never started: give --uri-file the first time.")
        command = [sys.executable, "-m", "embedded.app", "serve"]
        command += ["--folder", str(self.folder), "--name", self.name, "--port", str(self.port)]
        command += ["--uri-file", str(self.uri_file), "--flag", str(self.flag)]
        command += ["--flag-kind", self.flag_kind]
        command += ["--writes-per-second", str(self.writes_per_second)]
        self._process = spawn(command, log=self.log, cwd=ROOT)
        self._save()
        if not wait_until(lambda: self._answers() or not self.alive, 20):
            raise ProcessError(f"{self.name} doesn't answer at {self.url}. Its log: {self.log}")
        if not self.alive:
            raise ProcessError(f"{self.name} ended at once. Its log: {self.log}")
        return self

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.stop()
        self._save()

    def restart(self) -> None:
        """End it and start it as it was started."""
        self.stop()
        self.start()

    def reload(self) -> None:
        """Let it read its flag again without a restart; return when it has."""
        from .app_flags import read_flag

        if not self.alive or self._process is None:
            raise ProcessError(f"{self.name} doesn't run, so it can't reload: start it.")
        wanted = read_flag(self.flag)
        self._process.send(signal.SIGHUP)
        if not wait_until(lambda: self.get("/api/health").content["maintenance"] is wanted, 5):
            raise ProcessError(f"{self.name} didn't reload. Its log: {self.log}")

    def set_flag(self, on: bool) -> None:
        """Write the flag file; the application learns of it by a reload or a restart."""
        self.flag.write_text(f"MAINTENANCE_MODE={'true' if on else 'false'}\n")

    def get(self, path: str) -> Reply:
        """Send a GET request."""
        return self._request(path, None)

    def post(self, path: str, content: dict[str, Any] | None = None) -> Reply:
        """Send a POST request with JSON."""
        return self._request(path, json.dumps(content or {}).encode())

    def _answers(self) -> bool:
        try:
            return self.get("/api/health/live").status == 200
        except OSError:
            return False

    def _request(self, path: str, body: bytes | None) -> Reply:
        request = urllib.request.Request(
            self.url + path, data=body, headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return Reply(response.status, json.loads(response.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, json.loads(error.read()))

    def _save(self) -> None:
        write_json(
            self._state_file,
            {
                "name": self.name,
                "port": self.port,
                "url": self.url,
                "flag": str(self.flag),
                "flag_kind": self.flag_kind,
                "uri_file": self.uri_file and str(self.uri_file),
                "writes_per_second": self.writes_per_second,
                "process": self._process and self._process.as_dict(),
            },
        )
        pid_file = self.folder / f"{self.name}.pid"
        if self.pid is None:
            pid_file.unlink(missing_ok=True)
        else:
            pid_file.write_text(f"{self.pid}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do one thing with one instance."""
    parser = argparse.ArgumentParser(
        prog="python -m embedded.app",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=["start", "stop", "restart", "reload", "status", "serve"])
    parser.add_argument("--folder", type=Path, default=Path(".sandbox/apps"))
    parser.add_argument("--name", default="app1")
    parser.add_argument("--port", type=int)
    parser.add_argument("--uri-file", type=Path)
    parser.add_argument("--flag", type=Path)
    parser.add_argument("--flag-kind", choices=KINDS)
    parser.add_argument("--writes-per-second", type=float)
    options = parser.parse_args(arguments)
    app = App(
        options.folder,
        options.name,
        port=options.port,
        uri_file=options.uri_file,
        flag=options.flag,
        flag_kind=options.flag_kind,
        writes_per_second=options.writes_per_second,
    )
    if options.action == "serve":
        _serve(app)
        return 0
    try:
        if options.action != "status":
            getattr(app, options.action)()
    except ProcessError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{app.name}  {app.url}  {'running' if app.alive else 'stopped'}  log {app.log}")
    return 0 if options.action != "status" or app.alive else 3


def _serve(app: App) -> None:
    """Be the instance's process."""
    from .app_server import serve

    if app.uri_file is None:
        raise SystemExit("serve needs --uri-file")
    serve(
        name=app.name,
        port=app.port,
        uri=app.uri_file.read_text().strip(),
        flag=app.flag,
        flag_kind=app.flag_kind,
        token=app.token if app.flag_kind == "http" else "",
        writes_per_second=app.writes_per_second,
    )


if __name__ == "__main__":
    sys.exit(main())
