"""What a seal notices: every edit, removal and insertion, named."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from evidence import chain, record, seal


def folder(root: Path, name: str = "20261123-020400-migrate-004-db", lines: int = 5) -> Path:
    """Make a folder as a run leaves it, not sealed yet."""
    made = root / name
    made.mkdir(parents=True)
    record.begin(made, action="migrate", migration="004", deployment="db")
    head = chain.BEGINNING
    with (made / "log.jsonl").open("w") as log:
        for number in range(lines):
            line = chain.link(chain.plain({"number": number, "text": "é\ud83d", "x": 0.1}), head)
            head = line["hash"]
            log.write(chain.write(line))
    (made / "plan.json").write_text('{"a": 1}\n')
    return made


def rewrite(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(change(lines)))


def test_an_untouched_folder_has_no_problems(tmp_path: Path):
    made = folder(tmp_path)
    sealed = seal.seal(made, versions={"python": "3.11"})
    assert seal.verify(made) == []
    assert sealed["log"]["lines"] == 5
    assert set(sealed["files"]) == {"log.jsonl", "plan.json", "run.json"}


def test_a_folder_without_a_seal_is_no_proof(tmp_path: Path):
    assert "isn't sealed" in seal.verify(folder(tmp_path))[0]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"files": 3, "log": null}'])
def test_a_broken_seal_is_one_clear_problem(tmp_path: Path, text: str):
    made = folder(tmp_path)
    (made / "seal.json").write_text(text)
    assert len(seal.verify(made)) == 1
    assert "seal.json can't be read" in seal.verify(made)[0]


def test_an_edited_a_removed_and_an_added_file_are_named(tmp_path: Path):
    made = folder(tmp_path)
    (made / "gone.json").write_text("{}")
    seal.seal(made)
    (made / "plan.json").write_text('{"a": 2}\n')
    (made / "gone.json").unlink()
    (made / "sub").mkdir()
    (made / "sub" / "new.json").write_text("{}")
    assert seal.verify(made) == [
        "gone.json was removed",
        "plan.json was edited",
        "sub/new.json was added",
    ]


@pytest.mark.parametrize("number", [1, 3, 5])
def test_an_edited_line_is_named(tmp_path: Path, number: int):
    made = folder(tmp_path)
    seal.seal(made)

    def edit(lines: list[str]) -> list[str]:
        lines[number - 1] = lines[number - 1].replace('"x": 0.1', '"x": 0.2')
        return lines

    rewrite(made / "log.jsonl", edit)
    assert seal.verify(made) == [
        "log.jsonl was edited",
        f"log.jsonl: line {number} was edited",
    ]


def test_a_line_edited_with_its_hash_betrays_itself_at_the_next(tmp_path: Path):
    made = folder(tmp_path)
    seal.seal(made)

    def edit(lines: list[str]) -> list[str]:
        line = json.loads(lines[1])
        content = {k: v for k, v in line.items() if k not in ("previous", "hash")}
        lines[1] = chain.write(chain.link({**content, "number": 99}, line["previous"]))
        return lines

    rewrite(made / "log.jsonl", edit)
    assert "changed before line 3" in " ".join(seal.verify(made))


def test_a_removed_an_inserted_and_a_swapped_line_are_named(tmp_path: Path):
    made = folder(tmp_path)
    seal.seal(made)
    log = made / "log.jsonl"
    whole = log.read_text()
    rewrite(log, lambda lines: lines[:2] + lines[3:])
    assert any("before line 3" in problem for problem in seal.verify(made))
    log.write_text(whole)
    rewrite(log, lambda lines: [*lines[:2], lines[0], *lines[2:]])
    assert any("before line 3" in problem for problem in seal.verify(made))
    log.write_text(whole)
    rewrite(log, lambda lines: [lines[1], lines[0], *lines[2:]])
    assert any("before line 1" in problem for problem in seal.verify(made))
    log.write_text(whole)
    rewrite(log, lambda lines: lines[:-1])
    assert "log.jsonl: 1 line(s) missing at the end" in seal.verify(made)
    log.write_text(whole + "not a line\n")
    assert "log.jsonl: line 6 isn't a line of this log" in seal.verify(made)


def test_any_single_changed_byte_of_a_log_is_noticed(tmp_path: Path):
    made = folder(tmp_path)
    seal.seal(made)
    log = made / "log.jsonl"
    whole = log.read_bytes()
    dice = random.Random(7)
    for place in dice.sample(range(len(whole)), 60):
        changed = bytearray(whole)
        changed[place] ^= 1 << dice.randrange(8)
        log.write_bytes(bytes(changed))
        assert seal.verify(made), place


def test_a_folder_sealed_anew_is_contradicted_by_the_next_one(tmp_path: Path):
    first = folder(tmp_path, "20261123-020000-migrate-003-db")
    second = folder(tmp_path, "20261123-030000-migrate-004-db")
    seal.seal(first)
    seal.seal(second)
    assert seal.verify(first) == seal.verify(second) == []
    (first / "plan.json").write_text('{"a": 2}\n')
    seal.seal(first)
    assert seal.verify(first) == [f"seal.json was remade: {second.name} names another one"]
    assert seal.verify(second) == [f"the seal of {first.name}, which this one follows, was remade"]


def test_a_folder_can_be_moved_away_from_its_neighbours(tmp_path: Path):
    seal.seal(folder(tmp_path, "a"))
    second = folder(tmp_path, "b")
    seal.seal(second)
    moved = tmp_path / "elsewhere" / "b"
    moved.parent.mkdir()
    second.rename(moved)
    assert seal.verify(moved) == []


def test_a_log_goes_on_after_its_last_line(tmp_path: Path):
    log = folder(tmp_path) / "log.jsonl"
    line = chain.link({"number": 5}, chain.head(log))
    with log.open("a") as file:
        file.write(chain.write(line))
    assert chain.check(log) == (6, line["hash"], [])
    assert chain.head(tmp_path / "none.jsonl") == chain.BEGINNING
