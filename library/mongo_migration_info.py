#!/usr/bin/python
"""Ansible module: what has been migrated, who is at it now, and what a migration would do."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mongo_migration_info
short_description: Tell the state of the migrations of a MongoDB database
version_added: "1.0.0"
description:
  - Returns the server, the changelog of the database, who holds its lease, whether maintenance mode
    is on, and, with O(definition), the state of that migration and the plan for it.
  - Never changes state, and never fails because of what the plan finds; look at RV(problems).
options:
  definition:
    required: false
    description:
      - The B(text) of a migration document, as in C(playbooks/migrations/). With it, RV(migration),
        RV(plan) and RV(problems) are returned.
  rehearsed:
    description:
      - What a rehearsal on a copy of the data measured, with C(at), C(of), C(documents), and
        C(seconds) by phase, as M(mongo_rehearse) returns them. It takes the place of the plan's
        estimate.
    type: dict
    default: {}
  progress_file:
    description:
      - A file on the host that runs the module, where it keeps its newest progress as JSON; with
        O(fleet) only. On this machine the action plugin of the same name watches it.
    type: path
extends_documentation_fragment:
  - mongo_connection
  - mongo_fleet
  - mongo_definition
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
  - The user needs the role C(read) on O(database), and C(clusterMonitor) on C(admin) for the write
    block and the estimate.
seealso:
  - module: mongo_migrate
author: The migration playbooks' authors (@migration-playbooks)
"""

EXAMPLES = r"""
- name: Show the changelog
  mongo_migration_info:
    uri: "{{ mongo_uri }}"
    database: bizzai
  register: migrations

- name: Plan migration 003
  mongo_migration_info:
    uri: "{{ mongo_uri }}"
    database: bizzai
    definition: "{{ lookup('ansible.builtin.file', document) }}"
    definition_name: "{{ document }}"
    variables:
      fiscal_years: per_fiscal_year
  vars:
    document: playbooks/migrations/003-create-default-financial-period.yml
  register: planned
"""

RETURN = r"""
fleet:
  description: >-
    Of many databases, how many are in which state (C(counts)), sums (C(numbers)), those that need
    attention with the reason, the C(canaries), and how many are left for C(later).
  returned: with O(fleet)
  type: dict
  sample:
    databases: 200
    counts: {"verified now": 199, "failed, rolled back": 1}
    numbers: {modified: 187300}
    attention: [{database: tenant_7, state: "failed, rolled back", reason: 1 of 31 checks failed}]
    canaries: []
    later: 0
fleet_text:
  description: The same as lines for people.
  returned: with O(fleet)
  type: list
  elements: str
  sample: ["verified now                     199 databases"]
pages:
  description: >-
    All that is known of each database, for the evidence. Base64 of zlib of lines of JSON, each
    C([database, page]).
  returned: with O(fleet)
  type: str
  sample: eJyLjgYAARUAuQ==
server:
  description: What answered.
  returned: success
  type: dict
  contains:
    version:
      description: The version of MongoDB.
      returned: always
      type: str
      sample: 6.0.5
    topology:
      description: One of C(standalone), C(replica_set), C(sharded).
      returned: always
      type: str
      sample: replica_set
    set_name:
      description: The name of the replica set.
      returned: always; null without one
      type: str
      sample: rs0
    primary:
      description: The address of the primary.
      returned: always; null without one
      type: str
      sample: db1.example.com:27017
    members:
      description: The addresses of the members that hold data and can be seen.
      returned: always
      type: list
      elements: str
      sample: ["db1.example.com:27017", "db2.example.com:27017", "db3.example.com:27017"]
    transactions:
      description: Whether a batch is one transaction.
      returned: always
      type: bool
      sample: true
    write_block:
      description: Whether the server refuses the writes of ordinary users.
      returned: always; null where that can't be seen
      type: bool
      sample: false
database:
  description: The name of the database.
  returned: success
  type: str
  sample: bizzai
changelog:
  description: The runs, newest first.
  returned: success
  type: list
  elements: dict
  contains:
    run:
      description: The id of the run.
      returned: always
      type: str
      sample: 003-20261116021004-71ab
    migration:
      description: The id of the migration.
      returned: always
      type: str
      sample: "003"
    name:
      description: The name of the migration.
      returned: always
      type: str
      sample: create-default-financial-period
    digest:
      description: The SHA-256 digest of the document.
      returned: always
      type: str
      sample: 0f6b8d25e9a4177c02f68a3f1eb5c09d2477b8e1c3a6d0f50a39e7b6c2d0f1b4
    phase:
      description: The phase of the run.
      returned: always
      type: str
      sample: verified
    started:
      description: When it began, on the server's clock.
      returned: always
      type: raw
      sample: {"$date": "2026-11-16T02:10:04Z"}
    finished:
      description: When it came to the end of its phase, on the server's clock.
      returned: always; null while it has not
      type: raw
      sample: {"$date": "2026-11-16T02:10:51Z"}
    operator:
      description: Who ran it.
      returned: always
      type: dict
      sample: {user: a.rao, host: bastion, pid: 4127}
    change:
      description: The change that it belongs to.
      returned: always
      type: dict
      sample: {ticket: CHG-1038}
    verified_at:
      description: When it was verified.
      returned: always; null while it has not been
      type: raw
      sample: {"$date": "2026-11-16T02:11:20Z"}
    backup:
      description: The archive that it relies on.
      returned: always; null without one
      type: str
      sample: /backups/mongodb/backup-20261116-020951.tar.gz
    counts:
      description: What it did.
      returned: always
      type: dict
      sample: {modified: 18240, inserted: 12, skipped: 0, batches: 20}
    work:
      description: How many documents it has changed of how many, or its rollback if there is one;
        how many a second, and while it is at work the seconds that are left.
      returned: always
      type: dict
      sample: {done: 12000, total: 18252, rate: 6000.0, eta_seconds: 1}
    held_bytes:
      description: About how many bytes it holds for its way back; C(prune.yml --check) says it
        exactly.
      returned: always
      type: int
      sample: 1048576
    pruned_at:
      description: When the last of that was removed on purpose.
      returned: always; null where it wasn't
      type: dict
      sample: {"$date": "2026-12-30T09:12:00Z"}
    conflicts:
      description: The documents that its rollback left alone, since somebody had changed them.
      returned: always
      type: int
      sample: 0
    control:
      description: What M(mongo_migration_control) asked the run for, by whom and since when.
      returned: always; null if for nothing
      type: dict
      sample: {action: pause, by: anna@bastion, at: {"$date": "2026-11-16T02:10:30Z"}}
    limits:
      description: The limits that M(mongo_migration_control) gave the run.
      returned: always
      type: dict
      sample: {batch_size: 200}
    error:
      description: Why it ended early.
      returned: always; null where it did not
      type: str
      sample: SIGTERM received
adopted:
  description: The migrations that another tool has applied and M(mongo_adopt) has taken over.
  returned: success
  type: list
  elements: dict
  sample: []
lease:
  description: Who works on the database now.
  returned: success; null while nobody does
  type: dict
  sample:
    holder: {user: a.rao, host: bastion, pid: 4711}
    purpose: migrate 004 add-organization-to-all-models
    since: {"$date": "2026-11-23T02:05:33Z"}
    expires: {"$date": "2026-11-23T02:06:13Z"}
    token: 7
maintenance:
  description: The last switch of maintenance mode; C(switching) stands there while one is under way
    or was killed on its way. C(holds) says whether something still keeps writers out; where nothing
    does, they don't count as stopped. C(last) is when it was on before, and for how many seconds.
  returned: success; null if it was never switched
  type: dict
  sample:
    "on": true
    since: {"$date": "2026-11-23T02:04:58Z"}
    by: {user: a.rao, host: bastion}
    reason: migration 004
    change: {ticket: CHG-1042}
    write_block: true
    applications: [app1, app2]
    holds: true
    seconds: 75
    last: {since: {"$date": "2026-11-20T02:04:58Z"}, until: {"$date": "2026-11-20T02:05:02Z"},
           reason: migration 003, seconds: 4.1}
copies:
  description: The scratch databases of rehearsals and drills that are there, each with who is at
    work on it (C(at_work)); where nobody is, a command was killed and left it, and C(next) says how
    it is removed. Those that this login may not read aren't seen.
  returned: success; empty with O(definition)
  type: list
  elements: dict
  sample:
    - database: bizzai_rehearsal
      of: bizzai
      purpose: rehearsal of 004 on backup-20261123-020533.tar.gz
      at_work:
restore:
  description: The restore that ended while it was replacing collections, so that some of
    them are from the backup and some aren't. Nothing else works on the database until C(next) has
    completed the restore.
  returned: success; null if there is none
  type: dict
  sample:
    archive: /backups/mongodb/backup-20261123-020533.tar.gz
    next: ansible-playbook restore.yml -e archive=/backups/mongodb/backup-20261123-020533.tar.gz
    safety_backup: /backups/mongodb/before-restore/backup-20261123-031502.tar.gz
migration:
  description: The migration of O(definition).
  returned: with O(definition)
  type: dict
  contains:
    id:
      description: The id.
      returned: always
      type: str
      sample: "004"
    name:
      description: The name.
      returned: always
      type: str
      sample: add-organization-to-all-models
    digest:
      description: The SHA-256 digest of the document.
      returned: always
      type: str
      sample: 4b1f0d2c6b7e93a05f0d6a3c1e8b7742d90c5be1f3a86f20c7714a9e52d8b6f0
    downtime:
      description: Whether it wants maintenance mode; one of C(none), C(recommended), C(required).
      returned: always
      type: str
      sample: recommended
    state:
      description: The phase of its newest run, or C(pending) without one.
      returned: always
      type: str
      sample: pending
    summary:
      description: What it does.
      returned: always
      type: str
      sample: Adds organizationId to the 13 core models and backfills existing documents.
    after:
      description: The migrations that it builds on.
      returned: always
      type: list
      elements: str
      sample: ["003"]
    backup:
      description: The archive that its newest run relies on.
      returned: always; null without one
      type: str
      sample: /backups/mongodb/backup-20261123-020512.tar.gz
    run:
      description: Its newest run.
      returned: always; null without one
      type: str
      sample: 004-20261123020533-9f3c
plan:
  description: What the migration would do; see M(mongo_migrate).
  returned: with O(definition), unless it names a collection that doesn't exist
  type: dict
  sample:
    migration: "004"
    name: add-organization-to-all-models
    database: bizzai
    totals: {documents: 20000, candidates: 19874, to_change: 19874, indexes_to_build: 13}
    estimate: {seconds: 9, oplog_bytes: 3835682}
    problems: []
    warnings: []
plan_text:
  description: The plan as lines of an aligned table, for people.
  returned: with RV(plan)
  type: list
  elements: str
  sample:
    - Migration 004 add-organization-to-all-models on database bizzai (downtime recommended)
    - ""
    - "collection  field           documents  to change  missing  null  unresolved  already fine"
    - "items       organizationId      5,000      4,875    4,865    10           -           125"
at_work:
  description: Who works on the database now, at what, and how far it is; empty if nobody does.
  returned: always
  type: str
  sample: >-
    anna@bastion (process 4711): migrate 004 add-organization-to-all-models, since 2026-11-23
    02:05:33 UTC, 12,400 of 19,874 documents, 62.4 %, about 2 s left
next:
  description: What has to be done now, each with the reason. Empty while somebody is at work.
  returned: always
  type: list
  elements: dict
  sample:
    - why: 004 stopped half-way (interrupted); go on
      command: ansible-playbook migrate-004.yml
diff:
  description: What the migration would change, as two texts.
  returned: with O(definition) and C(--diff), where there is something to migrate
  type: dict
  sample:
    before: "items.organizationId: 125 of 5,000 documents set"
    after: "items.organizationId: 5,000 of 5,000 documents set"
problems:
  description: Why the migration would refuse to run, each with its fix. Empty where it would run.
  returned: always; without O(definition) only what stands in the way of any
  type: list
  elements: str
  sample:
    - "invoices: no organization found (2). Fix: name a default in the inventory."
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mongo_migration import module_runner
from ansible.module_utils.mongo_migration.argument_specs import (
    CONNECTION_OPTIONS,
    CONNECTION_RULES,
    DEFINITION_OPTIONS,
    FLEET_OPTIONS,
)


def describe(client: Any, module: AnsibleModule, definition: Any) -> dict[str, Any]:
    from ansible.module_utils.mongo_migration.procedures import plan, plan_text, status

    database = module.params["database"]
    if (fleet := module_runner.fleet(client, module)) is not None:
        return describe_fleet(client, fleet, definition)
    found = status.describe(client=client, database=database, definition=definition)
    if "plan" in found:
        found["plan"] = plan.rehearsed(found["plan"], module.params["rehearsed"])
    result = plan_text.illustrate({"changed": False, **found})
    if module._diff and found.get("plan") and found["migration"]["todo"] == "migrate":
        result["diff"] = plan_text.diff(found["plan"])
    return result


def describe_fleet(client: Any, fleet: Any, definition: Any) -> dict[str, Any]:
    """Return the same of many databases together."""
    from ansible.module_utils.mongo_migration.fleet import planning, standing

    if definition is None:
        return standing.describe(client, fleet)
    return planning.describe(client, fleet, definition)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            **DEFINITION_OPTIONS,
            "definition": {"type": "str"},
            "rehearsed": {"type": "dict", "default": {}},
            **FLEET_OPTIONS,
            "progress_file": {"type": "path"},
        },
        supports_check_mode=True,
        **CONNECTION_RULES,
    )
    module_runner.run(module, describe, before=module_runner.load_definition)


if __name__ == "__main__":
    main()
