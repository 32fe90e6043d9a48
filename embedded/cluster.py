"""The clusters of the Molecule scenarios: in containers, or as plain processes.

    python -m embedded.cluster create|prepare|destroy|show --folder F
    python -m embedded.cluster recorded --folder F      what it ran on, when it is gone
    python -m embedded.cluster play --folder F --expect 0 -- migrate-004.yml -e ticket=CHG1042
    python -m embedded.cluster kill|pause|resume|restart|step-down --folder F --member primary

`play --background` returns at once; `join` waits for that playbook. `kill-play` kills it and all
that it started, `wait` returns when its migration writes. `fingerprint` notes the exact content of
the database under a name, to be compared later; `meddle` and `ruin` change it behind everybody's
back.

Which of both, the environment says: MONGO_BACKEND=auto|podman|docker|local, MONGO_IMAGE,
MONGOD_BIN. A backend that is named is used or the command fails; auto takes the first engine that
really runs a container here, else plain processes, and says why.

The folder holds everything; cluster.json in it says what runs, how it is reached, and holds
passwords. inventories/molecule and the scenarios' tests read that file alone.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database
from pymongo.errors import PyMongoError

from .app import ROOT, App
from .containers import ContainerReplicaSet
from .engines import BACKENDS, LOCAL, Engine, candidates, runs
from .files import private_folder, read_json, write_json, write_private
from .images import provide
from .mongod import DATABASE, ReplicaSet
from .processes import Process, ProcessError, spawn, tree, wait_until
from .seed import seed

APPS = ("app1", "app2")
FILE = "cluster.json"
_ACTIONS = (
    *("create", "prepare", "destroy", "show", "recorded", "play", "join", "kill-play", "wait"),
    *("fingerprint", "meddle", "spoil", "ruin"),
)
_FAULTS = ("kill", "pause", "resume", "restart", "step-down")
_PATIENCE = 300.0
_ITEMS = {"collection": "items", "kind": "set_field"}
_IMPOSSIBLE = {
    "name": "there are a million organizations",
    "count": {"in": "organizations", "at_least": 1000000},
}


@dataclass(frozen=True)
class Backend:
    """What the members run on, and why it is this."""

    name: str
    engine: Engine | None = None
    image: str = ""
    remark: str = ""


def choose(environment: Mapping[str, str], folder: Path) -> Backend:
    """Return the backend that the environment asks for.

    Raises:
        ProcessError: it names one that doesn't exist or doesn't work here.
    """
    wanted = environment.get("MONGO_BACKEND") or "auto"
    image = environment.get("MONGO_IMAGE") or None
    if wanted not in BACKENDS:
        raise ProcessError(f"MONGO_BACKEND={wanted} is none of {', '.join(BACKENDS)}.")
    if wanted == LOCAL:
        if image:
            raise ProcessError("MONGO_IMAGE needs a container engine: unset MONGO_BACKEND=local.")
        return Backend(LOCAL, remark="as asked")
    reasons = []
    for engine in candidates(wanted, folder):
        try:
            found = provide(engine, image)
            reason = runs(engine, found)
        except ProcessError as error:
            reason = str(error)
        else:
            if not reason:
                return Backend(engine.name, engine, found)
        reasons.append(f"{engine.name}: {reason}")
    why = "; ".join(dict.fromkeys(reasons)) or (
        f"{wanted} is not installed" if wanted != "auto" else "no container engine is installed"
    )
    if wanted != "auto" or image:
        raise ProcessError(
            f"MONGO_BACKEND={wanted}{f' with MONGO_IMAGE={image}' if image else ''} doesn't work "
            f"here: {why}. MONGO_BACKEND=local runs plain processes."
        )
    return Backend(LOCAL, remark=why)


class Cluster:
    """The servers and applications of one folder."""

    def __init__(self, folder: Path):
        self.folder = folder.absolute()
        self.file = self.folder / FILE
        self.facts: dict[str, Any] = read_json(self.file) or {}

    def create(self, *, members: int, auth: bool, tls: bool) -> None:
        """Start the servers and note how they are reached."""
        private_folder(self.folder)
        backend = choose(os.environ, self.folder)
        self._note(
            backend=backend.name,
            remark=backend.remark,
            image=backend.image,
            engine_environment=dict(backend.engine.environment) if backend.engine else {},
            shape={"members": members, "auth": auth, "tls": tls},
            database=DATABASE,
        )
        servers = self.servers().start()
        with servers.client() as client:
            version = client.server_info()["version"]
        app_uri = servers.uri("app", database=DATABASE)
        self._note(
            version=version,
            members=[
                {"name": getattr(each, "name", ""), "address": each.address}
                for each in servers.members
            ],
            admin_uri=servers.uri("admin"),
            migrator_uri=servers.uri("migrator"),
            app_uri=app_uri,
            # Without access control nobody's write can be told from the migrator's.
            probe_uri=app_uri if auth else "",
        )

    def servers(self) -> ReplicaSet:
        """Return the servers, whether they run or not."""
        shape, folder = self.facts["shape"], self.folder / "servers"
        if self.facts["backend"] == LOCAL:
            return ReplicaSet(folder, shape["members"], shape["auth"], tls=shape["tls"])
        engine = Engine(self.facts["backend"], self.facts["engine_environment"])
        return ContainerReplicaSet(
            folder,
            shape["members"],
            shape["auth"],
            engine=engine,
            image=self.facts["image"],
            tls=shape["tls"],
        )

    def prepare(self, documents: int, writes_per_second: float) -> None:
        """Fill the database and start the applications on it."""
        with self.servers().client() as client:
            company = seed(client[DATABASE], documents)
        folder = private_folder(self.folder / "apps")
        uri_file = folder / "uri"
        write_private(uri_file, self.facts["app_uri"] + "\n")
        started = []
        for name in APPS:
            app = App(folder, name, uri_file=uri_file, writes_per_second=writes_per_second)
            app.set_flag(False)
            started.append(app.start())
        self._note(
            documents=company.total,
            apps={app.name: {"port": app.port, "flag": str(app.flag)} for app in started},
        )

    def destroy(self) -> None:
        """Stop everything and remove the folder."""
        for name in self.facts.get("apps", {}):
            App(self.folder / "apps", name).stop()
        if "shape" in self.facts:
            self.servers().stop()
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def play(self, arguments: Sequence[str], expected: int | None) -> int:
        """Run ansible-playbook as a user does; keep what it says, and how it ended.

        Args:
            arguments: of ansible-playbook, without the inventory.
            expected: the exit code that is right; None is any.

        Raises:
            ProcessError: it ended otherwise.
        """
        arguments = [each.replace("{folder}", str(self.folder)) for each in arguments]
        number = len(list(self._logs.glob("*.log"))) + 1
        log = private_folder(self._logs) / f"{number:02d}-{Path(arguments[0]).stem}.log"
        command = [str(Path(sys.executable).parent / "ansible-playbook"), *arguments]
        command += ["-i", "inventories/molecule"]
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "MOLECULE_"))}
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**kept, "CLUSTER_FOLDER": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        found = Process.of(process.pid)
        write_json(self._running, found and found.as_dict())
        code = process.wait()
        # One file for each: a play in the background may end while another begins.
        write_json(log.with_suffix(".json"), {"arguments": list(arguments), "code": code})
        if expected not in (None, code):
            raise _wrong_end(log, code, expected)
        return code

    def play_in_background(self, arguments: Sequence[str]) -> None:
        """Run ansible-playbook, and don't wait for it."""
        self._running.unlink(missing_ok=True)
        log = private_folder(self._logs) / "background.txt"
        command = [sys.executable, "-m", "embedded.cluster", "play", "--folder", str(self.folder)]
        wrapper = spawn([*command, "--", *arguments], log=log, cwd=ROOT)
        write_json(self._background, wrapper.as_dict())
        if not wait_until(self._running.exists, _PATIENCE):
            raise ProcessError(f"{arguments[0]} didn't start. Its log: {log}")

    def join(self, expected: int) -> None:
        """Wait for the playbook in the background.

        Raises:
            ProcessError: it ended with another exit code, or not at all.
        """
        wrapper = Process.load(read_json(self._background))
        if wrapper is None:
            raise ProcessError("No playbook was started in the background.")
        if not wait_until(lambda: not wrapper.alive, 2 * _PATIENCE, 0.2):
            raise ProcessError("The playbook in the background doesn't end.")
        newest = max(self._logs.glob("*.json"))
        code = read_json(newest)["code"]
        if code != expected:
            raise _wrong_end(newest.with_suffix(".log"), code, expected)

    def kill_play(self) -> None:
        """Kill the running playbook and everything that it started, without any warning."""
        process = Process.load(read_json(self._running))
        if process is None or not process.alive:
            raise ProcessError("No playbook runs here.")
        for each in tree(process):
            each.send(signal.SIGKILL)

    def wait_for_writes(self, migration: str, batches: int) -> None:
        """Return when the newest run of a migration has written that many batches.

        Raises:
            ProcessError: it ended before, or took too long.
        """
        seen: dict[str, Any] = {}

        def there() -> bool:
            try:
                run = changelog.find_one(query, sort=[("number", -1)]) or {}
            except PyMongoError:
                return False
            seen.update(run)
            return run.get("counts", {}).get("batches", 0) >= batches or run.get("phase") in ENDED

        query = {"kind": "run", "migration": migration}
        with self.servers().client() as client:
            changelog = client[DATABASE]["_migrations"]
            arrived = wait_until(there, _PATIENCE, 0.02)
        if not arrived or seen.get("phase") != "running":
            raise ProcessError(
                f"Migration {migration} wasn't caught at work: phase {seen.get('phase')}, "
                f"{seen.get('counts', {}).get('batches', 0)} batches."
            )

    def harm(self, fault: str, member: str) -> None:
        """Do something to a member, or undo it.

        Args:
            fault: kill, pause, resume, restart or step-down.
            member: a number, `primary`, or `lost`, the last one that was harmed.
        """
        servers = self.servers()
        if member == "primary":
            number = servers.wait_for_primary()
            self._note(lost=number)
        else:
            number = int(self.facts["lost"] if member == "lost" else member)
        if fault == "step-down":
            with servers.direct(number, "admin" if servers.auth else None) as admin:
                admin.admin.command("replSetStepDown", 10, secondaryCatchUpPeriodSecs=5)
        else:
            getattr(servers, fault)(number)
        if fault in ("resume", "restart"):
            servers.wait_for_primary()
            servers.wait_for_secondaries()

    def fingerprint(self, name: str) -> None:
        """Note the exact content of the database under a name."""
        file = self.folder / "fingerprints.json"
        with self.servers().client() as client:
            found = fingerprint(client[DATABASE])
        write_json(file, {**(read_json(file) or {}), name: found})

    def meddle(self) -> None:
        """Change a migrated document as an administrator can, past the write block.

        Raises:
            ProcessError: the migration writes no item.
        """
        with self.servers().client() as client:
            journal = client[DATABASE]["_migrations_journal"]
            # Only what stands in the journal was surely written by the migration.
            if not wait_until(lambda: bool(journal.find_one(_ITEMS)), _PATIENCE):
                raise ProcessError("The migration writes no item.")
            entry = journal.find_one(_ITEMS) or {}
            written = [i for group in entry["groups"] for i in group["ids"]]
            foreign = {"$set": {"organizationId": ObjectId()}}
            client[DATABASE]["items"].update_one({"_id": written[0]}, foreign)

    def spoil(self, migration: str) -> None:
        """Write documents of which one has a postcondition that can't hold, and how to use them."""
        folder = private_folder(self.folder / "migrations")
        for path in (ROOT / "playbooks" / "migrations").glob("*.yml"):
            text = path.read_text()
            if path.name.startswith(migration):
                document = yaml.safe_load(text)
                document.setdefault("postconditions", []).append(_IMPOSSIBLE)
                text = yaml.safe_dump(document, sort_keys=False)
            (folder / path.name).write_text(text)
        variables = {"migrations_dir": str(folder), "migrations_assumed_applied": ["003"]}
        write_json(self.folder / "spoiled.json", variables)

    def ruin(self) -> None:
        """Lose data as a mistake or a disaster does."""
        with self.servers().client() as client:
            client[DATABASE].drop_collection("invoices")
            client[DATABASE]["customers"].delete_many({})
            client[DATABASE]["items"].update_many({}, {"$unset": {"addedBy": ""}})

    def words(self) -> str:
        """Return what runs here, for people."""
        return words(self.facts)

    @property
    def _logs(self) -> Path:
        return self.folder / "logs"

    @property
    def _background(self) -> Path:
        return self.folder / "background.json"

    @property
    def _running(self) -> Path:
        return self.folder / "running.json"

    def _note(self, **facts: Any) -> None:
        self.facts |= facts
        write_json(self.file, self.facts)


ENDED = ("applied", "verified", "failed", "interrupted", "rolled_back")


def fingerprint(database: Database[dict[str, Any]]) -> dict[str, Any]:
    """Return a hash of each collection's documents, byte for byte, and of its indexes.

    The engine's own collections are its state, and stay after a rollback.
    """
    raw: Any = database.codec_options.with_options(document_class=RawBSONDocument)
    found: dict[str, Any] = {}
    for name in sorted(database.list_collection_names()):
        if name.startswith(("system.", "_migrations")):
            continue
        total = hashlib.sha256()
        documents: Any = database.get_collection(name, codec_options=raw)
        for document in documents.find().sort("_id", 1):
            total.update(document.raw)
        total.update(repr(sorted(database[name].index_information().items())).encode())
        found[name] = total.hexdigest()
    return found


def words(facts: Mapping[str, Any]) -> str:
    """Return what a cluster runs on, for people."""
    shape = facts["shape"]
    return (
        f"backend {facts['backend']}{' (' + facts['remark'] + ')' if facts['remark'] else ''}"
        f"{', image ' + facts['image'] if facts['image'] else ''}, MongoDB {facts['version']}, "
        f"{shape['members']} member{'s' if shape['members'] > 1 else ''}, "
        f"{'key file and passwords' if shape['auth'] else 'no access control'}, "
        f"{'TLS' if shape['tls'] else 'no TLS'}"
    )


def _wrong_end(log: Path, code: int, expected: int | None) -> ProcessError:
    end = "\n".join(log.read_text(errors="replace").splitlines()[-40:])
    return ProcessError(f"{log.stem} ended with {code}, not {expected}. The end of {log}:\n{end}")


def record(cluster: Cluster, file: Path) -> None:
    """Add what a scenario ran on to the list of all that were run."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = {
        name: cluster.facts[name] for name in ("backend", "remark", "image", "version", "shape")
    }
    known = read_json(file) or {}
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    write_json(file, {**known, cluster.folder.name: {**kept, "at": now}})


def main(arguments: Sequence[str] | None = None) -> int:
    """Do one thing with the cluster of a folder."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # What follows the two dashes is ansible-playbook's.
    at = given.index("--") if "--" in given else len(given)
    options = _parser().parse_args(given[:at])
    options.arguments = given[at + 1 :]
    cluster = Cluster(options.folder)
    try:
        _do(cluster, options)
    except (ProcessError, PyMongoError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _do(cluster: Cluster, options: argparse.Namespace) -> None:
    if options.action == "recorded":
        _show_record(cluster, options)
        return
    if not cluster.facts and options.action not in ("create", "destroy"):
        raise ProcessError(f"There is no cluster in {options.folder}.")
    steps: dict[str, Callable[[], object]] = {
        "create": lambda: _create(cluster, options),
        "prepare": lambda: _prepare(cluster, options),
        "destroy": cluster.destroy,
        "show": lambda: print(cluster.words()),
        "play": lambda: _play(cluster, options),
        "join": lambda: cluster.join(options.expect or 0),
        "kill-play": cluster.kill_play,
        "wait": lambda: cluster.wait_for_writes(options.migration, options.batches),
        "fingerprint": lambda: cluster.fingerprint(options.name),
        "meddle": cluster.meddle,
        "spoil": lambda: cluster.spoil(options.migration),
        "ruin": cluster.ruin,
    }
    steps.get(options.action, lambda: cluster.harm(options.action, options.member))()


def _show_record(cluster: Cluster, options: argparse.Namespace) -> None:
    """Print what a cluster ran on that is gone."""
    known = (read_json(options.record) or {}).get(cluster.folder.name)
    print(f"        {words(known)}" if known else "        no server was started")


def _create(cluster: Cluster, options: argparse.Namespace) -> None:
    cluster.create(members=options.members, auth=not options.no_auth, tls=not options.no_tls)
    record(cluster, options.record)
    print(cluster.words())


def _prepare(cluster: Cluster, options: argparse.Namespace) -> None:
    cluster.prepare(options.documents, options.writes_per_second)
    print(f"{cluster.facts['documents']:,} documents, applications {', '.join(APPS)}")


def _play(cluster: Cluster, options: argparse.Namespace) -> None:
    if options.background:
        cluster.play_in_background(options.arguments)
    else:
        cluster.play(options.arguments, options.expect)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m embedded.cluster",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=(*_ACTIONS, *_FAULTS))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--no-auth", action="store_true", help="no access control")
    parser.add_argument("--no-tls", action="store_true")
    parser.add_argument("--record", type=Path, default=ROOT / "build" / "molecule.json")
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--writes-per-second", type=float, default=0.0)
    parser.add_argument("--expect", type=int, help="the exit code that is right")
    parser.add_argument("--migration", default="004")
    parser.add_argument("--batches", type=int, default=5)
    parser.add_argument("--member", default="primary", help="a number, primary or lost")
    parser.add_argument("--name", default="before", help="of a fingerprint")
    parser.add_argument("--background", action="store_true", help="don't wait for the playbook")
    return parser


if __name__ == "__main__":
    sys.exit(main())
