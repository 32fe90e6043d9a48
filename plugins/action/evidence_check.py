"""Action plugin: find a folder of evidence, check its seal, and render its report again.

The folder itself isn't touched: the new report, which says what the check found, lies beside it,
and so does the page of all of them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# Ansible loads a plugin by its path: what it shares with others lies beside it.
sys.path.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from evidence import bundle, index, log_writer, overview, record, report, seal, signature
from release import origin


class ActionModule(ActionBase):
    """Takes ``root`` and ``run``; without a run, lists what there is.

    ``removed`` are names of folders that were removed on purpose, which the index then says, with
    ``reason`` and ``operator``.
    """

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Check, or list."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validated, given = self.validate_argument_spec(
            {
                "root": {"type": "path", "required": True},
                "run": {"type": "str", "default": ""},
                "public_key": {"type": "str", "default": ""},
                "removed": {"type": "list", "elements": "str", "default": []},
                "reason": {"type": "str", "default": ""},
                "operator": {"type": "str", "default": ""},
                "signing_key": {"type": "str", "no_log": True, "default": ""},
            }
        )
        root = Path(given["root"])
        try:
            _note_removed(root, given)
            missing = index.check(root, public_key=given["public_key"])
            if not given["run"]:
                return {**result, "changed": False, **_list(root, missing), "missing": missing}
            folder = bundle.find(root, given["run"])
            found = _check(folder, given["public_key"])
        except (LookupError, OSError, ValueError) as error:
            # The first of a system's error is its number.
            text = str(error) if isinstance(error, OSError) or not error.args else error.args[0]
            raise AnsibleActionFail(str(text)) from error
        return {**result, "changed": False, **found, "missing": missing}


def _list(root: Path, missing: list[str]) -> dict[str, Any]:
    """Return what there is, and the page that shows it."""
    found: dict[str, Any] = {
        "folders": [bundle.describe(folder) for folder in bundle.folders_in(root)]
    }
    if not found["folders"]:
        return found
    try:
        found["page"] = str(overview.write(root, missing))
    except OSError as error:
        # A folder that is only to be read can be looked at all the same.
        found["warnings"] = [f"{root / overview.PAGE} can't be written: {error.strerror}."]
    return found


def _note_removed(root: Path, given: dict[str, Any]) -> None:
    """Enter in the index which folders were removed on purpose, and by whom."""
    if not given["removed"]:
        return
    if not given["reason"].strip():
        raise ValueError("Why were they removed? Pass -e \"reason='WORDS'\" as well.")
    there = [name for name in given["removed"] if (root / name).exists()]
    if there:
        raise ValueError(f"{there[0]} is still there: remove it first, then say so.")
    with index.opened(root) as book:
        for name in given["removed"]:
            line = {"what": index.REMOVED, "folder": name, "reason": given["reason"]}
            who = {"operator": given["operator"] or origin.login(), "login": origin.login()}
            book.add({**line, **who}, signing_key=given["signing_key"])


def _check(folder: Path, public_key: str) -> dict[str, Any]:
    problems = seal.verify(folder)
    if public_key and seal.is_sealed(folder):
        problems += signature.verify(folder, public_key)
    rendered = folder.with_name(f"{folder.name}.html")
    record.write_text(
        rendered, report.render(folder, checked=report.Checked(record.now(), tuple(problems)))
    )
    return {
        "folder": str(folder),
        "record": record.read(folder),
        "problems": problems,
        "report": str(rendered),
        "log": (folder / log_writer.LOG).exists(),
        "signed": (folder / seal.SIGNATURE).exists(),
    }
