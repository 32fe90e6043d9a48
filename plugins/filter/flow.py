"""Filters that decide what a playbook does next, each from what it has found."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Ansible loads a plugin by its path: what it shares with others lies beside it.
sys.path.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from mongo_migration.backup import moment


def backup_moment(plan: Mapping[str, Any], **circumstances: Any) -> dict[str, Any]:
    """Return when the backup is taken, and why; see mongo_migration.backup.moment."""
    return moment.choose(plan, **circumstances).as_dict()


class FilterModule:
    """Each decision by its name."""

    def filters(self) -> Mapping[str, Any]:
        """Return the filters by name."""
        return {"backup_moment": backup_moment}
