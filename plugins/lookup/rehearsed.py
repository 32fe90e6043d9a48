"""Lookup plugin: how long a migration took when it was rehearsed on a copy of the data."""

from __future__ import annotations

DOCUMENTATION = r"""
name: rehearsed
short_description: What the newest rehearsal of a document on a copy of the data measured
version_added: "1.1.0"
description:
  - Looks for sealed evidence of C(rehearse.yml) with this very document, its variables, this
    deployment and this database, of the last 90 days. Whether a rehearsal is asked for is the
    gate's business.
options:
  _terms:
    description: The folder of the evidence.
    type: list
    elements: path
    required: true
  definition:
    description: The text of the document.
    type: str
    required: true
  name:
    description: Its file.
    type: str
    default: document
  inputs:
    description: Values for its variables.
    type: dict
    default: {}
  collections:
    description: Name of a collection in documents to its name in this deployment.
    type: dict
    default: {}
  deployment:
    description: The inventory host.
    type: str
    required: true
  database:
    description: The database.
    type: str
    required: true
  public_key:
    description: In PEM; evidence without the signature then counts for nothing.
    type: str
    default: ""
"""

RETURN = r"""
_raw:
  description: For each folder C(at), C(of), C(documents) and C(seconds); empty if there is none.
  type: list
  elements: dict
"""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.plugins.lookup import LookupBase

# Ansible loads a plugin by its path: what it shares with others lies beside it.
sys.path.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from evidence import proof
from mongo_migration.document import definition
from mongo_migration.errors import DefinitionError
from release import copies

_DAYS = 90


class LookupModule(LookupBase):
    """Takes folders of evidence."""

    def run(
        self, terms: list[str], variables: dict[str, Any] | None = None, **options: Any
    ) -> list[dict[str, Any]]:
        """Return what the newest rehearsal measured."""
        self.set_options(var_options=variables, direct=options)
        try:
            made = definition.load(
                self.get_option("definition"),
                self.get_option("name"),
                variables=self.get_option("inputs"),
                collections=self.get_option("collections"),
            )
        except DefinitionError:
            return [{} for _term in terms]  # told where the document is needed
        return [self._newest(Path(term), made) for term in terms]

    def _newest(self, root: Path, made: Any) -> dict[str, Any]:
        now, key = datetime.now(UTC), self.get_option("public_key")

        def verify(folder: Path, modules: Sequence[str]) -> list[str]:
            return proof.problems(folder, modules, now=now, public_key=key)

        copy, _problems = copies.newest(
            root=root,
            digest=made.digest,
            deployment=self.get_option("deployment"),
            database=self.get_option("database"),
            days=_DAYS,
            now=now,
            verify=verify,
            variables=made.variables,
        )
        if copy is None:
            return {}
        return {
            "at": f"{copy.ended:%Y-%m-%d %H:%M} UTC",
            "of": f"{copy.of:%Y-%m-%d %H:%M} UTC",
            "documents": copy.documents,
            "seconds": dict(copy.seconds),
        }
