"""Closing a folder: how a run ended, checks, signature, archive, and which folders are finished."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from evidence import bundle, chain, log_writer, record, seal, signature

CHECKS = [
    {"name": "a <b>", "status": "passed", "expected": 0, "observed": 0, "examined": 3},
    {
        "name": "b",
        "status": "failed",
        "expected": 0,
        "observed": 2,
        "examined": 3,
        "detail": "x\x00",
    },
    {"name": "c", "status": "skipped", "expected": None, "observed": None, "detail": "no writers"},
]


def folder(root: Path, name: str = "20261123-020400-migrate-004-db", **run: Any) -> Path:
    made = root / name
    made.mkdir(parents=True)
    about = {"action": "migrate", "migration": "004", "deployment": "db", "database": "bizzai"}
    record.begin(made, **{**about, **run})
    return made


def write(made: Path, *lines: dict[str, Any], screen: str = "") -> None:
    log = log_writer.Writer(made)
    log.write(lines, screen)
    log.close()


def line(status: str) -> dict[str, Any]:
    return {"time": "2026-11-23T02:05:00.000Z", "status": status}


def test_a_run_without_a_conclusion_was_killed_or_interrupted(tmp_path: Path):
    killed, interrupted = folder(tmp_path, "a"), folder(tmp_path, "b")
    write(killed, line("ok"))
    write(interrupted, line("ok"), line("interrupted"))
    assert bundle.close(killed)["run"]["outcome"] == "killed"
    assert bundle.close(interrupted)["run"]["outcome"] == "interrupted"
    assert record.read(killed)["ended"] == "2026-11-23T02:05:00.000Z"


def test_a_conclusion_stays_as_it_is(tmp_path: Path):
    made = folder(tmp_path)
    write(made, line("ok"))
    record.update(made, outcome="rolled_back")
    assert bundle.close(made, outcome="failed")["run"]["outcome"] == "rolled_back"


def test_a_closed_folder_is_sealed_and_packed_whole(tmp_path: Path):
    made = folder(tmp_path)
    write(made, line("ok"), screen="hello")
    closed = bundle.close(made)
    assert closed["problems"] == []
    assert seal.verify(made) == []
    assert closed["seal"] == seal.digest(made / "seal.json")
    archive = Path(closed["archive"])
    assert archive.stat().st_mode & 0o777 == 0o640
    assert seal.digest(archive) == closed["archive_sha256"]
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "unpacked")
    assert seal.verify(tmp_path / "unpacked" / made.name) == []


def test_a_broken_file_keeps_no_folder_from_being_sealed(tmp_path: Path):
    made = folder(tmp_path)
    write(made, line("ok"))
    (made / "verification.json").write_text('{"checks": [3]}')
    closed = bundle.close(made)
    assert "checks.xml couldn't be made" in closed["problems"][0]
    assert seal.verify(made) == []


def test_the_checks_are_junit(tmp_path: Path):
    made = folder(tmp_path)
    (made / "verification.json").write_text(json.dumps({"checks": CHECKS}))
    bundle.close(made)
    (suite,) = Xml.parse(made / "checks.xml").getroot()
    counts = {name: suite.get(name) for name in ("tests", "failures", "skipped", "errors")}
    assert counts == {"tests": "3", "failures": "1", "skipped": "1", "errors": "0"}
    first, second, third = suite
    assert first.get("name") == "a <b>"
    assert second.find("failure").get("message") == "expected 0, observed 2"
    assert third.find("skipped").get("message") == "no writers"


def test_only_folders_of_this_deployment_that_nobody_writes_to_are_unfinished(tmp_path: Path):
    own = folder(tmp_path, "own")
    left = folder(tmp_path, "left")
    write(left, line("ok"))
    write(folder(tmp_path, "foreign", deployment="other"), line("ok"))
    sealed = folder(tmp_path, "sealed")
    write(sealed, line("ok"))
    bundle.close(sealed)
    folder(tmp_path, "being-opened")
    alive = log_writer.Writer(folder(tmp_path, "alive"))
    find = {"deployment": "db", "database": "bizzai", "but": own}
    assert bundle.unfinished(tmp_path, **find) == [left]
    alive.close()
    assert bundle.unfinished(tmp_path, **find) == [tmp_path / "alive", left]


def test_a_lock_ends_with_the_last_process_that_inherited_it(tmp_path: Path):
    made = folder(tmp_path)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        log_writer.Writer(made)
        os.write(writing, b"x")
        os.read(os.pipe()[0], 1)  # until it is killed
        os._exit(0)
    try:
        assert os.read(reading, 1) == b"x"
        assert log_writer.is_written(made)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert not log_writer.is_written(made)


def test_a_line_that_a_crash_cut_short_is_removed_before_the_log_goes_on(tmp_path: Path):
    made = folder(tmp_path)
    write(made, line("ok"), line("ok"))
    whole = (made / "log.jsonl").read_bytes()
    (made / "log.jsonl").write_bytes(whole + whole[:40])
    write(made, line("failed"))
    found = chain.check(made / "log.jsonl")
    assert (found.lines, found.problems) == (3, [])


def test_the_screen_is_kept_without_what_only_a_terminal_understands(tmp_path: Path):
    made = folder(tmp_path)
    write(made, screen="\x1b[0;31mred\x1b[0m\r\nplain\n")
    write(made, screen="more\n")
    assert (made / "stdout.txt").read_bytes() == b"red\r\nplain\nmore\n"


def keys() -> tuple[str, str]:
    private = Ed25519PrivateKey.generate()
    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    return (
        private.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain).decode(),
        private.public_key()
        .public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode(),
    )


def test_a_signed_seal_is_known_by_its_key_alone(tmp_path: Path):
    private, public = keys()
    made = folder(tmp_path)
    write(made, line("ok"))
    closed = bundle.close(made, signing_key=private)
    assert closed["problems"] == []
    assert signature.verify(made, public) == []
    assert seal.verify(made) == []
    _other, foreign = keys()
    assert "isn't made with the key" in signature.verify(made, foreign)[0]
    # Who edits a file and makes the seal anew can't sign it.
    record.update(made, outcome="success")
    seal.seal(made)
    assert seal.verify(made) == []
    assert "isn't made with the key" in signature.verify(made, public)[0]
    (made / "seal.sig").unlink()
    assert signature.verify(made, public) == ["seal.json isn't signed: seal.sig is missing"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_confirms_the_signature(tmp_path: Path):
    private, public = keys()
    made = folder(tmp_path)
    write(made, line("ok"))
    bundle.close(made, signing_key=private)
    (tmp_path / "raw").write_bytes(base64.b64decode((made / "seal.sig").read_text()))
    (tmp_path / "public.pem").write_text(public)
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(tmp_path / "public.pem")]
    command += ["-rawin", "-in", str(made / "seal.json"), "-sigfile", str(tmp_path / "raw")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "Signature Verified Successfully" in done.stdout


def test_a_wrong_key_is_said_in_one_sentence_and_the_folder_is_sealed(tmp_path: Path):
    made = folder(tmp_path)
    write(made, line("ok"))
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for key in ("not a key", other.decode()):
        (problem,) = bundle.close(made, signing_key=key)["problems"]
        assert "openssl genpkey -algorithm ed25519" in problem
        assert seal.verify(made) == []


def test_a_folder_is_found_by_its_name_its_run_or_as_the_newest(tmp_path: Path):
    first = folder(tmp_path, "20261123-010000-migrate-003-db", run="003-a")
    second = folder(tmp_path, "20261123-020000-migrate-004-db", run="004-b")
    third = folder(tmp_path, "20261123-030000-verify-004-db", run="004-b", action="verify")
    assert bundle.find(tmp_path, first.name) == first
    assert bundle.find(tmp_path, "003-a") == first
    assert bundle.find(tmp_path, "newest") == third
    assert bundle.find(tmp_path, "004-b") == second
    with pytest.raises(LookupError, match=rf"no evidence '005' in (.|\n)*{third.name}"):
        bundle.find(tmp_path, "005")
    with pytest.raises(LookupError, match=r"There is no evidence in .* yet"):
        bundle.find(tmp_path / "nowhere", "newest")


def test_what_another_command_left_was_killed_whatever_it_says(tmp_path: Path):
    private, _public = keys()
    typed = folder(tmp_path, outcome="success", verified=True, ended="2026-11-23T02:05:00.000Z")
    (typed / "log.jsonl").touch()
    (typed / "verification.json").write_text(json.dumps({"passed": True, "checks": CHECKS[:1]}))
    closed = bundle.close(typed, signing_key=private, finished_by="20261123-030000-migrate-004-db")
    run = record.read(typed)
    assert (run["outcome"], run["verified"]) == ("killed", False)
    assert run["claimed"] == {"outcome": "success", "verified": True}
    assert record.read_json(typed / "seal.json")["finished_by"] == run["finished_by"]
    assert closed["problems"] == []
    report = (typed / "report.html").read_text()
    assert "was killed" in report
    assert "had called itself success, which proves nothing" in report


def test_an_interruption_is_believed_of_an_intact_log_alone(tmp_path: Path):
    left = folder(tmp_path)
    write(left, line("ok"), line("interrupted"))
    text = (left / "log.jsonl").read_text()
    (left / "log.jsonl").write_text(text.replace('"status": "ok"', '"status": "OK"'))
    assert bundle.close(left, finished_by="x")["run"]["outcome"] == "killed"


@pytest.mark.parametrize("make", [os.symlink, lambda _to, path: os.mkfifo(path)])
def test_nobody_vouches_for_what_lies_elsewhere(tmp_path: Path, make: Any):
    left, secret = folder(tmp_path), tmp_path / "secret"
    write(left, line("ok"))
    secret.write_text("mine")
    make(secret, left / "extra.json")
    with pytest.raises(OSError, match=r"extra\.json is not a plain file"):
        bundle.close(left, finished_by="x")
    assert not seal.is_sealed(left)


def test_writing_never_follows_a_link(tmp_path: Path):
    left, mine = folder(tmp_path), tmp_path / "mine"
    write(left, line("ok"))
    mine.write_text("precious")
    for name in (".run.json.unfinished", ".report.html.unfinished"):
        (left / name).symlink_to(mine)
    (tmp_path / f".{left.name}.tar.gz.unfinished").symlink_to(mine)
    bundle.close(left)
    assert mine.read_text() == "precious"


def test_a_pipe_keeps_nobody_waiting(tmp_path: Path):
    trap = tmp_path / "trap"
    trap.mkdir()
    os.mkfifo(trap / "run.json")
    (trap / "log.jsonl").touch()
    own = folder(tmp_path, "own")
    found = bundle.unfinished(tmp_path, deployment="db", database="bizzai", but=own)
    assert found == []


def test_without_a_log_nothing_is_a_success(tmp_path: Path):
    made = folder(tmp_path, outcome="success", verified=True)
    closed = bundle.close(made)
    assert record.read(made)["outcome"] == "incomplete"
    assert "ANSIBLE_CALLBACK_PLUGINS" in closed["problems"][0]
    assert seal.verify(made) == []
