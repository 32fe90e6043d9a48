"""The documentation: what it names is there, what it tells to type can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from mongo_migration import errors

from authoring import catalogue_page
from tests.support import screens
from tests.support.playbooks import ROOT

PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    if path.name != "CHANGELOG.md"
)
AT_NIGHT = (ROOT / "docs" / "at-0200.md").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):.*?##", (ROOT / "Makefile").read_text(), re.MULTILINE))
ROOT_PLAYBOOKS = {path.name for path in ROOT.glob("*.yml")}
# A team's own: of the guide, or by a placeholder.
_OWN = re.compile(r"(?:playbooks/)?migrate(?:-(?:[0-9]{3}|NNN))?\.yml")
_COMMAND = re.compile(r"(?:[\w./]+/)?ansible-playbook ([^`\n#]*)")
# In examples, what a reader runs beside our own commands.
_OTHERS = {"git", "source", "pytest", "openssl", "base64", "ssh-keygen", "cp", "cd", "export", "jq"}


def playbooks_in(text: str) -> list[tuple[str, str]]:
    """Each command of a text: its playbook, and all of it."""
    found = []
    for match in _COMMAND.finditer(text.replace("\\\n", " ")):
        name = re.match(r"(?:-\S+ \S+ )*([\w./-]+\.yml)", match[1])
        if name:
            found.append((name[1], match[1]))
    return found


def variables_of(playbook: str) -> str:
    """Every text in which a playbook may name what ``-e`` gives it."""
    names = [ROOT / "playbooks" / Path(playbook).name, ROOT / "playbooks" / "vars" / "wiring.yml"]
    if re.match(r".*migrate", playbook):
        names.append(ROOT / "playbooks" / "migrate.yml")
    if "repair" in playbook:
        names += (ROOT / "playbooks").glob("repair*.yml")
    roles = [*(ROOT / "roles").glob("*/defaults/main.yml"), *(ROOT / "roles").glob("*/meta/*.yml")]
    return "\n".join(path.read_text() for path in [*names, *roles] if path.is_file())


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_of_a_page_is_one_that_there_is(page: Path):
    text = page.read_text()
    for playbook, whole in playbooks_in(text):
        assert playbook in ROOT_PLAYBOOKS or _OWN.fullmatch(playbook), whole
        known = variables_of(playbook)
        for variable in re.findall(r"-e [\"']?(\w+)=", whole):
            assert re.search(rf"\b{variable}\b", known), f"{playbook} knows no {variable}"
    for target in re.findall(
        r"(?:`|\$ |^)(?:[A-Z_]+=\S+ )?make ([a-z][a-z-]+)", text, re.MULTILINE
    ):
        assert target in TARGETS, f"make {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_line_that_is_to_be_typed_can_be(page: Path):
    for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL):
        for line in re.findall(r"^\$ (.*(?:\\\n.*)*)", block, re.MULTILINE):
            words = shlex.split(line.replace("\\\n", " "), comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            command = words[0].rpartition("/")[2]
            ours = command in ("ansible-playbook", "make", "python", "ansible-vault", "run")
            assert ours or command in _OTHERS, line


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), target


def every_error() -> list[str]:
    """Each class of error by which a run can end, in the engine and beside it."""
    found = set()
    for path in (ROOT / "plugins" / "module_utils").rglob("*.py"):
        found.update(re.findall(r"^class (\w+Error)\((\w+)", path.read_text(), re.MULTILINE))
    ending = {"MigrationError"}
    while more := {name for name, base in found if base in ending} - ending:
        ending |= more
    settings = {name for name, _base in found if name in ("SettingError", "MailError", "AppError")}
    return sorted(ending | settings)


@pytest.mark.parametrize("name", every_error())
def test_every_error_that_can_end_a_run_says_at_night_what_to_type(name: str):
    # One that is caught and tried again never reaches a person.
    if name not in ("SnapshotMissedError",):
        assert f"| `{name}` |" in AT_NIGHT


def test_every_way_to_end_says_at_night_what_to_type():
    for outcome in [*screens.outcomes(), "interrupted", "killed"]:
        assert f"`{outcome}`" in AT_NIGHT
    assert issubclass(errors.LeaseHeldError, errors.MigrationError)


def test_the_sentences_of_the_playbooks_that_end_a_run_are_there_at_night():
    # By their beginnings, as a person would look for them.
    files = [*(ROOT / "roles").glob("*/tasks/*.yml"), *(ROOT / "plugins" / "action").glob("*.py")]
    said = " ".join(" ".join(path.read_text() for path in files).split())
    for words in (
        "The gate of this inventory refuses",
        "so the maintenance flag could be neither",
        "A backup needs about",
        "isn't complete",
        "checks failed",
        "doesn't answer as expected",
        "The application doesn't work as it did before",
    ):
        assert words in AT_NIGHT, words
        assert words in said, f"nothing says it any more: {words}"


def test_the_catalogue_is_of_the_documents_that_there_are():
    assert catalogue_page.PAGE.read_text() == catalogue_page.page(), "run `make schema`"


def test_every_page_is_found_by_need():
    index = (ROOT / "docs" / "README.md").read_text()
    for page in sorted((ROOT / "docs").glob("*.md")):
        assert page.name == "README.md" or f"]({page.name})" in index, page.name
