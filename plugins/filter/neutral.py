"""Filters for templates that show text that isn't ours; see mongo_migration.support.neutral."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Ansible loads a plugin by its path: what it shares with others lies beside it.
sys.path.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from mongo_migration.support import neutral


class FilterModule:
    """The functions of the module, one for each place."""

    def filters(self) -> Mapping[str, Any]:
        """Return the filters by name."""
        return {
            **neutral.FILTERS,
            "extra_variable": lambda value, name: neutral.extra_variable(name, value),
        }
