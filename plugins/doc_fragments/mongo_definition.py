"""Documentation of the options that say which migration, and with what."""

from __future__ import annotations


class ModuleDocFragment:
    """The options of ``mongo_migration.argument_specs.DEFINITION_OPTIONS``."""

    DOCUMENTATION = r"""
options:
  definition:
    description:
      - >-
        The B(text) of a migration document, as in C(playbooks/migrations/). Pass the text rather
        than a path, so that the document is read on the controller, whatever host connects:
        V({{ lookup('ansible.builtin.file', 'playbooks/migrations/004-….yml'\) }}).
      - It is validated before anything connects; each problem is named with its place in the
        document and the fix.
    type: str
    required: true
  definition_name:
    description:
      - The file that O(definition) came from, for messages.
    type: str
    default: definition
  variables:
    description:
      - Values for the variables that the document declares. An unknown name, a missing value or a
        value of another type is an error.
    type: dict
    default: {}
  collections:
    description:
      - >-
        The real name of a collection for each name in the document that differs, for example
        V({journalEntries: journalentries}). A collection that doesn't exist is an error that
        suggests the near name; map it to V(null) to say that this deployment has none.
    type: dict
    default: {}
  assume_applied:
    description:
      - >-
        Migrations that an earlier tool applied, by their ids, so that the document's C(after) is
        met although no run of them is recorded. Quote them: V("003") is text, V(003) a number.
    type: list
    elements: str
    default: []
requirements:
  - Jinja2, PyYAML and jsonschema on the host that runs the module
"""
