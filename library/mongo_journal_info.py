#!/usr/bin/python
"""Ansible module: what the journal of a run says, in few lines."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mongo_journal_info
short_description: Summarize the journal of a migration's run
version_added: "1.0.0"
description:
  - Returns a run with its batches as the journal holds them (collection, number of documents, time,
    first and last C(_id)), and how many documents the run's collections hold now.
  - Never changes state.
options:
  run:
    description:
      - The id of the run.
    type: str
  migration:
    description:
      - The id of a migration, for its newest run.
    type: str
  since:
    description:
      - Only a run that was written to since this time, in ISO 8601.
    type: str
extends_documentation_fragment:
  - mongo_connection
attributes:
  check_mode:
    description: Says what it would do, and writes nothing to the database.
    support: full
    details: The module never writes.
  diff_mode:
    description: Returns what differs.
    support: N/A
  idempotent:
    description: A second run changes nothing.
    support: full
notes:
  - The user needs the role C(read) on O(database).
seealso:
  - module: mongo_migration_info
author: The migration playbooks' authors (@migration-playbooks)
"""

EXAMPLES = r"""
- name: Read what the last run of 004 did
  mongo_journal_info:
    uri: "{{ mongo_uri }}"
    database: bizzai
    migration: "004"
  register: journal
"""

RETURN = r"""
run:
  description: The run.
  returned: success; null where there is none
  type: dict
  sample:
    id: 004-20261123020533-9f3c
    migration: "004"
    name: add-organization-to-all-models
    digest: 4b1f0d2c6b7e93a05f0d6a3c1e8b7742d90c5be1f3a86f20c7714a9e52d8b6f0
    variables: {unresolved_documents: fail, invalid_values: replace}
    phase: verified
    started: {"$date": "2026-11-23T02:05:33Z"}
    updated: {"$date": "2026-11-23T02:05:41Z"}
    operator: {user: a.rao, host: bastion, pid: 4711}
    backup: /backups/mongodb/backup-20261123-020512.tar.gz
    error: null
    work: {modified: 19874, inserted: 0, skipped: 0, batches: 26}
batches:
  description: Its batches in their order; of very many, several share a row.
  returned: success
  type: list
  elements: dict
  contains:
    seq:
      description: The number of the (first) entry.
      returned: always
      type: int
      sample: 1
    batches:
      description: How many entries this row stands for.
      returned: always
      type: int
      sample: 1
    kind:
      description: The operation.
      returned: always
      type: str
      sample: set_field
    step:
      description: The number of the document's step, from 0.
      returned: always
      type: int
      sample: 0
    collection:
      description: The collection.
      returned: always
      type: str
      sample: items
    documents:
      description: How many documents it touched.
      returned: always
      type: int
      sample: 1000
    written:
      description: How many documents it wrote, by collection; references in others are among them.
      returned: always
      type: dict
      sample: {items: 1000}
    at:
      description: When the (last) entry was written.
      returned: where the entry says so
      type: raw
      sample: {"$date": "2026-11-23T02:05:34.120Z"}
    first:
      description: The lowest C(_id) of the (first) entry.
      returned: always; null without documents
      type: raw
      sample: {"$oid": 67411b15f5b165229100042e}
    last:
      description: The highest C(_id) of the (last) entry.
      returned: always; null without documents
      type: raw
      sample: {"$oid": 67411b18f5b16522910004cd}
    reverted:
      description: Whether it was undone.
      returned: always
      type: bool
      sample: false
counts:
  description: How many documents the collections that the plan counted hold now, by its names.
  returned: success
  type: dict
  sample: {items: 5000, invoices: 7000}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mongo_migration import module_runner
from ansible.module_utils.mongo_migration.argument_specs import CONNECTION_OPTIONS, CONNECTION_RULES


def read_since(module: AnsibleModule) -> Any:
    from datetime import UTC, datetime

    from ansible.module_utils.mongo_migration.errors import MigrationError

    text = module.params["since"]
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise MigrationError(
            f"since: '{text}' is not a time such as 2026-11-23T02:05:33Z ({error})."
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def describe(client: Any, module: AnsibleModule, since: Any) -> dict[str, Any]:
    from ansible.module_utils.mongo_migration.procedures import journal_summary

    p = module.params
    found = journal_summary.describe(
        client=client,
        database=p["database"],
        run=p["run"],
        migration=p["migration"],
        since=since,
    )
    return {"changed": False, **found}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            "run": {"type": "str"},
            "migration": {"type": "str"},
            "since": {"type": "str"},
        },
        supports_check_mode=True,
        **CONNECTION_RULES,
    )
    module_runner.run(module, describe, before=read_since)


if __name__ == "__main__":
    main()
