"""Lookup plugin: whether evidence on this machine holds the receipt of a run's backup."""

from __future__ import annotations

DOCUMENTATION = r"""
name: backup_receipt
short_description: Whether evidence on the controller holds the receipt of a run's external backup
version_added: "1.1.0"
description:
  - The run's document lies in the migrated database, where others may write. A receipt that it
    names counts where the evidence of the command that took the backup holds it, for the same run,
    deployment and database.
options:
  _terms:
    description: The id of the receipt.
    type: list
    elements: str
    required: true
  evidence_root:
    description: The folder of all evidence.
    type: str
    required: true
  run:
    description: The run that names the receipt.
    type: str
    required: true
  deployment:
    description: The host of the deployment.
    type: str
    required: true
  database:
    description: The database that is migrated.
    type: str
    required: true
"""

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.lookup import LookupBase

# Ansible loads a plugin by its path: what it shares with others lies beside it.
sys.path.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from evidence import receipts


class LookupModule(LookupBase):
    """Takes the receipt, and where it must lie."""

    def run(
        self, terms: list[str], variables: dict[str, Any] | None = None, **options: Any
    ) -> list[bool]:
        """Return whether it does."""
        self.set_options(var_options=variables, direct=options)
        root = Path(self.get_option("evidence_root")).expanduser()
        about = {key: self.get_option(key) for key in ("run", "deployment", "database")}
        return [receipts.is_kept(root, terms[0], **about)]
