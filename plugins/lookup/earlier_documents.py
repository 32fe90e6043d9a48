"""Lookup plugin: the migration documents that one builds on."""

from __future__ import annotations

DOCUMENTATION = r"""
name: earlier_documents
short_description: The documents that a migration builds on, by what it names under after
version_added: "1.1.0"
description:
  - Those that it names, those that they name, and so on; one that isn't in the folder is left out.
options:
  _terms:
    description: Paths of documents, in a folder that holds the others too.
    type: list
    elements: path
    required: true
  inputs:
    description: Values for variables, by the id of the migration.
    type: dict
    default: {}
"""

RETURN = r"""
_raw:
  description: Each with C(definition), C(definition_name) and C(variables), for mongo_rehearse.
  type: list
  elements: dict
"""

import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

# Ansible loads a plugin by its path: what it shares with others lies beside it.
sys.path.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from mongo_migration.document import catalogue, definition
from mongo_migration.errors import DefinitionError


class LookupModule(LookupBase):
    """Reads documents."""

    def run(
        self, terms: list[str], variables: dict[str, Any] | None = None, **options: Any
    ) -> list[dict[str, Any]]:
        """Return what the documents at *terms* build on."""
        self.set_options(var_options=variables, direct=options)
        inputs = self.get_option("inputs")
        found: dict[str, dict[str, Any]] = {}
        try:
            for term in map(Path, terms):
                files = catalogue.read(term.parent).files
                waiting = _after(definition.read_text(term))
                while waiting:
                    id_ = waiting.pop()
                    if id_ in found or id_ not in files:
                        continue
                    found[id_] = definition.as_option(term.parent / files[id_], inputs.get(id_))
                    waiting += _after(found[id_]["definition"])
        except (OSError, DefinitionError) as error:
            raise AnsibleLookupError(str(getattr(error, "message", error))) from error
        return [found[id_] for id_ in sorted(found)]


def _after(text: str) -> list[str]:
    return [str(id_) for id_ in definition.document_of(text).get("after") or ()]
