"""Lookup plugin: the text of a migration document, with the Python files that it names."""

from __future__ import annotations

DOCUMENTATION = r"""
name: migration_document
short_description: The text of a migration document and of the files beside it that it names
version_added: "1.1.0"
description:
  - What the option C(definition) of the modules is given. A document that takes values from a
    function of the team (C(python)) is followed by the text of its file, so that both are read on
    the controller, both count for its digest, and both are kept in the run.
options:
  _terms:
    description: Paths of documents.
    type: list
    elements: path
    required: true
"""

EXAMPLES = r"""
- name: The text of a migration
  ansible.builtin.set_fact:
    text: "{{ lookup('migration_document', 'playbooks/migrations/005-slugs.yml') }}"
"""

RETURN = r"""
_raw:
  description: The texts.
  type: list
  elements: str
"""

import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

# Ansible loads a plugin by its path: what it shares with others lies beside it.
sys.path.append(str(Path(__file__).resolve().parents[1] / "module_utils"))


class LookupModule(LookupBase):
    """Reads documents."""

    def run(
        self, terms: list[str], variables: dict[str, Any] | None = None, **options: Any
    ) -> list[str]:
        """Return the texts of the documents at *terms*."""
        self.set_options(var_options=variables, direct=options)
        from mongo_migration.document import definition
        from mongo_migration.errors import DefinitionError

        try:
            return [definition.read_text(Path(term)) for term in terms]
        except (OSError, DefinitionError) as error:
            raise AnsibleLookupError(str(getattr(error, "message", error))) from error
