"""Lookup plugin: which document is which migration."""

from __future__ import annotations

DOCUMENTATION = r"""
name: migration_documents
short_description: Finds the migration and repair documents by their numbers
version_added: "1.1.0"
description:
  - A number that two documents have stands for none of them.
options:
  _terms:
    description: The folder of the migrations, and that of the repairs.
    type: list
    elements: path
    required: true
  selected:
    description: What C(-e migrations=) was given, a list or a text with commas.
    type: raw
    default: ""
"""

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.lookup import LookupBase

# Ansible loads a plugin by its path: what it shares with others lies beside it.
sys.path.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from mongo_migration.document import catalogue


class LookupModule(LookupBase):
    """Takes two folders."""

    def run(
        self, terms: list[str], variables: dict[str, Any] | None = None, **options: Any
    ) -> list[dict[str, Any]]:
        """Return id → file name of each kind, what ``-e repair=`` takes, and what was selected."""
        self.set_options(var_options=variables, direct=options)
        migrations, repairs = (
            catalogue.read(folder, kind)
            for folder, kind in zip(terms, (catalogue.MIGRATION, catalogue.REPAIR), strict=True)
        )
        return [
            {
                "migrations": dict(migrations.files),
                "repairs": dict(repairs.files),
                "repair_ids": catalogue.repair_names(repairs),
                "selected": catalogue.ids_of(self.get_option("selected"), place="migrations")[0],
                "problems": [*migrations.problems, *repairs.problems],
            }
        ]
