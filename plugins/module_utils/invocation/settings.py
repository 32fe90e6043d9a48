"""What a type can't say of a setting: bounds, names of limits, patterns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from mongo_migration.errors import MigrationError
from mongo_migration.monitor import thresholds
from mongo_migration.pace.throttle import Limits

# At least; these are counted or waited for.
_LEAST: Mapping[str, float] = {
    **dict.fromkeys(("migrate_lease_seconds", "rollback_lease_seconds"), 1),
    **dict.fromkeys(
        (
            *("migrate_retry_seconds", "rollback_retry_seconds", "rollback_stop_seconds"),
            *("backup_keep_count", "backup_keep_days", "backup_retry_seconds"),
            *("backup_snapshot_window", "backup_external_timeout", "restore_retry_seconds"),
            *("maintenance_health_seconds", "maintenance_drain_seconds"),
            *("maintenance_drain_quiet_seconds", "maintenance_expected_minutes"),
            "announce_patience",
            *("watch_minutes", "watch_max_error_rate", "watch_max_response_ms"),
            *("change_gate_rehearsal_days", "change_gate_notice_hours"),
            *("preflight_backup_max_age_hours", "monitor_samples"),
        ),
        0,
    ),
    **dict.fromkeys(
        (
            "watch_interval_seconds",
            "monitor_interval",
            "monitor_sample_seconds",
            "announce_timeout",
        ),
        0.1,
    ),
}


def problem(name: str, value: Any) -> str | None:
    """Return what is wrong with the option *name* of a role, whose type is right; else None."""
    least = _LEAST.get(name)
    if least is not None and value is not None and value < least:
        return f"must be at least {least:g}, not {value:g}"
    check = _CHECKS.get(name)
    if check is None or value in (None, "", {}):
        return None
    try:
        check(value)
    except MigrationError as error:
        return error.message
    except re.error as error:
        return f"isn't a pattern (a regular expression): {error}"
    except TypeError as error:
        # The name of a limit that there isn't.
        return str(error).rpartition(" ")[2].join(("there is no limit ", ""))
    return None


def _batch_size(value: Any) -> None:
    if value:  # 0 lets the throttle choose
        Limits(batch_size=value)


def _throttle(value: Mapping[str, Any]) -> None:
    Limits(**{name: limit for name, limit in value.items() if limit is not None})


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "migrate_batch_size": _batch_size,
    "migrate_throttle": _throttle,
    "rollback_throttle": _throttle,
    "monitor_thresholds": thresholds.limits,
    "preflight_thresholds": thresholds.limits,
    "change_gate_ticket_pattern": re.compile,
    "change_gate_tag_pattern": re.compile,
}
