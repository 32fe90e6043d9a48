"""The variables that a command line may set: one that nothing reads is a mistake.

Ansible takes every ``-e`` without a word. ``rollback.yml -e on_conflit=skip`` would roll back by
the default, and ``migrate-004.yml -e on_conflict=skip`` would look as if it had been heard.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from release.application import inventory, smoke


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Of every command: what the gate asks, and which documents and databases are meant.
COMMON = _names(
    """
    approver canary checklist confirm databases migration operator override reason ticket
    """
)

# Of some commands; each says which (entry_check_words, entry_check_arguments).
OF_COMMANDS = _names(
    """
    action archive at batch_size cutover do event expect fail_on force format impact interval
    max_dirty_ratio max_lag_seconds max_latency_ratio migrations min_free_tickets minutes
    on_conflict once openmetrics output pause_seconds removed repair run samples seconds state
    target_database target_seconds text until verify without_document
    """
)

# Of the inventory, beside the arguments of the roles: a command may be given another value.
SETTINGS = _names(
    """
    app_group app_monitor_url backup_dir backup_standing_change backup_while_writing canary_then
    contacts failures_allowed inventory_may_be_default lanes maintenance_mode migrate_frozen
    migration_secrets migration_variables migrations_assumed_applied migrations_dir
    mongo_auth_mechanism mongo_collections mongo_connection_timeout mongo_database
    mongo_databases mongo_login_database mongo_login_host mongo_login_password mongo_login_port
    mongo_login_user mongo_replica_set mongo_ssl mongo_ssl_ca_certs mongo_ssl_cert_reqs
    mongo_ssl_certfile mongo_ssl_crlfile mongo_ssl_pem_passphrase mongo_uri monitor_app_log
    own_variables recover_on_ill_release rehearsal_backup rehearsal_database rehearsal_dir
    rehearsal_mongod rehearsal_server rehearsal_uri repairs_dir smoke_on_failure
    vault_backup_identity vault_backup_passphrase vault_evidence_signing_key
    """
).union(inventory.NAMES, smoke.NAMES)

# Ansible's own, and what automation platforms set for every job.
_OF_PLATFORMS = ("ansible_", "awx_", "tower_")
_EXPRESSION = re.compile(r"{[{%].*?[%}]}", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def unknown(typed: Iterable[str], *, words: Collection[str], options: Collection[str]) -> list[str]:
    """Return the variables of a command line that neither the command nor a setting explains.

    Args:
        typed: their names.
        words: what this command takes beside ``COMMON``.
        options: the arguments of all roles.
    """
    known = {*COMMON, *words, *SETTINGS, *options}
    return [
        name
        for name in typed
        if name not in known and not name.startswith(_OF_PLATFORMS) and name != "_raw_params"
    ]


def read_by(values: Any) -> set[str]:
    """Return the names in the templates of *values*, the variables of an inventory."""
    if isinstance(values, str):
        return {
            name for expression in _EXPRESSION.findall(values) for name in _NAME.findall(expression)
        }
    if isinstance(values, Mapping):
        return set().union(*map(read_by, values.values()))
    if isinstance(values, list | tuple):
        return set().union(*map(read_by, values))
    return set()


def problem(name: str, *, words: Collection[str], options: Collection[str]) -> str:
    """Return what is wrong with ``-e name=`` and what was perhaps meant.

    Args:
        name: one of those that ``unknown`` returned.
        words: what this command takes beside ``COMMON``.
        options: the arguments of all roles.
    """
    if name in OF_COMMANDS:
        mine = ", ".join(sorted({*words, *COMMON}))
        return f"-e {name}: belongs to other commands. This one takes {mine}, and settings"
    near = difflib.get_close_matches(name, sorted({*COMMON, *words, *SETTINGS, *options}), n=1)
    meant = f"Did you mean {near[0]}? " if near else ""
    return (
        f"-e {name}: nothing reads this variable. {meant}One that only a template of your own "
        f"reads is named by the inventory: own_variables: [{name}]"
    )
