"""Lookup plugin: the documents of repairs, by what a person calls them."""

from __future__ import annotations

DOCUMENTATION = r"""
name: repair_documents
short_description: The documents of repairs, by their names
version_added: "1.1.0"
description:
  - In the order in which they are named. A name that is unknown is left out; entry_check refuses
    it.
options:
  _terms:
    description: Names such as C(duplicate_periods); one term may hold several, divided by commas.
    type: list
    elements: str
    required: true
  folder:
    description: Where the documents lie.
    type: path
    required: true
  inputs:
    description: Values for variables, by the id of the repair.
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
    """Takes names of repairs."""

    def run(
        self, terms: list[Any], variables: dict[str, Any] | None = None, **options: Any
    ) -> list[dict[str, Any]]:
        """Return the documents."""
        self.set_options(var_options=variables, direct=options)
        folder, inputs = Path(self.get_option("folder")), self.get_option("inputs")
        known = catalogue.read(folder, catalogue.REPAIR)
        ids = catalogue.repair_names(known)
        names = [name for term in terms for name in catalogue.several(term)]
        try:
            return [
                definition.as_option(folder / known.files[ids[name]], inputs.get(ids[name]))
                for name in names
                if name in ids
            ]
        except (OSError, DefinitionError) as error:
            raise AnsibleLookupError(str(getattr(error, "message", error))) from error
