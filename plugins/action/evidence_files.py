"""Action plugin: write the files of an evidence folder, on the controller, in one task.

Each file through ansible.builtin.copy would run two modules; ten files for each command make that
the longest part of a quick one. Evidence is not a change of the managed system, so `changed` is
always false, and check mode writes it too.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# Ansible loads a plugin by its path: what it shares with others lies beside it.
sys.path.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from evidence import pages, record, versions
from invocation import masking
from mongo_migration.document import definition
from mongo_migration.errors import DefinitionError

FOLDER_MODE = 0o750


class ActionModule(ActionBase):
    """Takes ``dest``, a folder that is made if needed, and what is to be in it.

    ``files`` are texts by name, ``values`` what is written as JSON; an empty one makes no file.
    ``pages`` are those of many databases by what they tell of, packed; each database gets a file.
    ``run`` is added to ``run.json``; ``versions`` and those of this machine are ``versions.json``.
    ``document`` (text, name, variables, collections) adds the values of the document's variables.
    """

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Write the files; each appears whole or not at all."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validated, arguments = self.validate_argument_spec(
            {
                "dest": {"type": "path", "required": True},
                "files": {"type": "dict", "default": {}},
                "values": {"type": "dict", "default": {}},
                "pages": {"type": "dict", "default": {}},
                "run": {"type": "dict", "default": {}},
                "versions": {"type": "dict"},
                "document": {"type": "dict", "default": {}},
            }
        )
        if not arguments["dest"]:
            raise AnsibleActionFail("There is no folder for the evidence")
        folder = Path(str(arguments["dest"]))
        # The last place before they are kept for years.
        masker = masking.masker(masking.of_hosts(task_vars or {}), self._loader)
        try:
            folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            for name, text in arguments["files"].items():
                if text:
                    record.write_text(folder / str(name), masker.text(str(text)))
            for name, value in arguments["values"].items():
                if value:
                    record.write_json(folder / str(name), masker.value(value))
            pages.write(folder, arguments["pages"], masker.value)
            if arguments["versions"] is not None:
                known = {**versions.here(), **arguments["versions"]}
                record.write_json(folder / "versions.json", known)
            if arguments["run"]:
                about = _variables(arguments["document"], arguments["run"])
                record.update(folder, **arguments["run"], **about, ended=record.now())
        except (OSError, ValueError) as error:
            raise AnsibleActionFail(f"Can't write the evidence in {folder}: {error}") from error
        return {**result, "changed": False, "dest": str(folder)}


def _variables(document: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """Return the variables of *document* with their values, if it is the one of *run*."""
    if not document.get("text"):
        return {}
    try:
        made = definition.load(
            str(document["text"]),
            str(document.get("name") or "document"),
            variables=document.get("variables") or {},
            collections=document.get("collections") or {},
        )
    except DefinitionError:
        return {}  # the command says so where it needs it
    return {"variables": made.variables} if run.get("digest") in (None, "", made.digest) else {}
