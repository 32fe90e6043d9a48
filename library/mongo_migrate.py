#!/usr/bin/python
"""Ansible module: carry a migration out, or say what it would do."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mongo_migrate
short_description: Carry out a data migration of a MongoDB database
version_added: "1.0.0"
description:
  - Plans a migration document, refuses if the plan finds data that no stated policy covers, and
    then carries it out in small journalled batches.
  - Killed at any point, or through a failover, the same task resumes it and repeats at most one
    batch without effect.
  - A migration that has been applied with the same document is left alone. One that has been
    applied with another document is an error.
  - The module writes no backup, doesn't verify and doesn't switch maintenance mode; see the other
    modules, and C(playbooks/migrate.yml) for the whole procedure.
options:
  writers_stopped:
    description:
      - Whether nobody else writes while this runs. Then a digest of each collection without the
        touched field is taken as a baseline, with which M(mongo_verify) proves that nothing else
        has changed.
      - It isn't believed. Maintenance mode must be on (M(mongo_maintenance)), by the server's write
        block or by an application that was seen to refuse a write; otherwise the task fails.
      - Until 1.1.0 it was called C(frozen), which still works and will be removed in 2.0.0.
    type: bool
    default: false
    aliases: [frozen]
  backup:
    description:
      - The archive that this run relies on. Recorded with the run; the module doesn't open it.
    type: str
  backups:
    description:
      - With O(fleet), the archive of each database that got one, as M(mongo_backup) returns them.
    type: dict
    default: {}
  until:
    description:
      - V(caught_up) does the first half of a migration that is live first, beside the writers,
        again and again until little is left, and proves it. The run is C(caught_up) then; the
        second call, with O(writers_stopped), does what writers have left behind since.
      - A run that has begun with stopped writers has no halves, and is left as it is.
    type: str
    choices: [applied, caught_up]
    default: applied
  verify:
    description:
      - Whether to verify what was applied at once, in the same process, as M(mongo_verify) does.
        While writers are stopped, a call of its own would only keep them waiting.
    type: bool
    default: false
extends_documentation_fragment:
  - mongo_connection
  - mongo_fleet
  - mongo_definition
  - mongo_run
  - mongo_run.change
attributes:
  check_mode:
    description: Says what it would do, and writes nothing to the database.
    support: full
    details: Returns the plan, or fails as the real run would where the plan finds problems.
  diff_mode:
    description: Returns how much of each collection has the field, before and after.
    support: full
    details: Counts rather than documents, so that no data of the database is on the screen.
  idempotent:
    description: A second run changes nothing.
    support: full
notes:
  - The user needs the role C(readWrite) on O(database), and C(clusterMonitor) on C(admin) for the
    estimate. While the write block is on it also needs the action C(bypassWriteBlockingMode), see
    M(mongo_maintenance).
seealso:
  - module: mongo_migration_info
  - module: mongo_verify
  - module: mongo_rollback
  - module: mongo_backup
author: The migration playbooks' authors (@migration-playbooks)
"""

EXAMPLES = r"""
- name: Show what migration 004 would do
  mongo_migrate:
    uri: "{{ mongo_uri }}"
    database: bizzai
    definition: "{{ lookup('ansible.builtin.file', document) }}"
    definition_name: "{{ document }}"
  vars:
    document: playbooks/migrations/004-add-organization-to-all-models.yml
  check_mode: true
  diff: true

- name: Carry out migration 004 under maintenance
  mongo_migrate:
    login_host: db1.example.com
    login_user: migrator
    login_password: "{{ vault_mongo_migrator_password }}"
    replica_set: rs0
    ssl: true
    ssl_ca_certs: /etc/ssl/mongodb-ca.pem
    database: bizzai
    definition: "{{ lookup('ansible.builtin.file', document) }}"
    definition_name: "{{ document }}"
    collections:
      journalEntries: journalentries
      bankAccounts: bankaccounts
    assume_applied: ["001", "002"]
    writers_stopped: true
    backup: /backups/mongodb/backup-20261123-020512.tar.gz
    change:
      ticket: CHG-1042
      operator: a.rao
      approver: m.iyer
  vars:
    document: playbooks/migrations/004-add-organization-to-all-models.yml
  register: result

- name: Carry out migration 003 while the application writes, more gently than by default
  mongo_migrate:
    uri: "{{ mongo_uri }}"
    database: bizzai
    definition: "{{ lookup('ansible.builtin.file', document) }}"
    definition_name: "{{ document }}"
    throttle:
      max_latency_ratio: 1.5
      pause_seconds: 0.1
  vars:
    document: playbooks/migrations/003-create-default-financial-period.yml
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
    said: 1 of 200 databases needs attention
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
migration:
  description: The id of the migration.
  returned: success
  type: str
  sample: "004"
name:
  description: The name of the migration.
  returned: success
  type: str
  sample: add-organization-to-all-models
run:
  description: The id of the run, under which the database and the evidence know it.
  returned: success; null in check mode where there is none yet
  type: str
  sample: 004-20261123020533-9f3c
digest:
  description: The SHA-256 digest of the document.
  returned: success
  type: str
  sample: 4b1f0d2c6b7e93a05f0d6a3c1e8b7742d90c5be1f3a86f20c7714a9e52d8b6f0
phase:
  description: The phase of the run now; C(pending) in check mode where there is none yet.
  returned: success; C(interrupted) or C(failed) on failure
  type: str
  sample: applied
matched:
  description: Documents that the run had to change.
  returned: success, not in check mode
  type: int
  sample: 19874
modified:
  description: Documents that the run changed, over all attempts.
  returned: success, not in check mode
  type: int
  sample: 19874
inserted:
  description: Documents that the run inserted.
  returned: success, not in check mode
  type: int
  sample: 0
deleted:
  description: Documents that the run removed; each is in the journal with its whole content.
  returned: success, not in check mode
  type: int
  sample: 0
commands:
  description: The commands that the run ran, each with exit code, seconds and output.
  returned: success, not in check mode
  type: list
  elements: dict
  sample:
    - command: npm run migrate:up
      exit_code: 0
      seconds: 12.4
      timeout_seconds: 600
      output: "3 migrations applied\n"
skipped:
  description: Documents that somebody changed before the run came to them; they were left alone.
  returned: success, not in check mode
  type: int
  sample: 0
indexes:
  description: Indexes that the run built, each as C(collection.name).
  returned: success, not in check mode
  type: list
  elements: str
  sample: [items.organizationId_1, invoices.organizationId_1]
meanwhile:
  description: What writers did between the plan and the end; empty while none may write.
  returned: success, not in check mode
  type: list
  elements: str
  sample: ["items: about +12 documents"]
cutover:
  description: >-
    Of a run that is live first, the passes that its live half took, what the last one of them
    wrote, all that was written live, and up to which entry of the journal it was proved; null of
    others.
  returned: success, not in check mode
  type: dict
  sample: {kind: live_first, half: final, passes: 2, last: 12, live: 19874, proved: 33}
verification:
  description: What M(mongo_verify) returns; checks that fail are no failure of this module.
  returned: with O(verify), when the run is applied
  type: dict
  sample: {passed: true, phase: verified, checks: [], failures: []}
elapsed:
  description: Seconds that this attempt took.
  returned: success, not in check mode
  type: float
  sample: 8.4
batches:
  description: Batches that the run wrote, over all attempts.
  returned: success, not in check mode
  type: int
  sample: 20
steps:
  description: What the plan had found for each step in each collection, as in RV(plan.steps).
  returned: success, not in check mode
  type: list
  elements: dict
  sample:
    - step: 2
      kind: create_index
      collection: items
      real_name: items
      documents: 5000
      candidates: 0
      indexes: [{name: organizationId_1, keys: {organizationId: 1}, state: missing}]
plan:
  description: The plan that the run was made from.
  returned: success; in check mode unless there is nothing to do; when the plan blocks the run
  type: dict
  contains:
    steps:
      description: What each step finds in each collection.
      returned: always
      type: list
      elements: dict
      sample:
        - step: 1
          kind: set_field
          collection: items
          field: organizationId
          documents: 5000
          candidates: 4875
          to_change: 4875
          empty: {missing: 4865, "null": 10, empty_string: 0}
          invalid: {wrong_type: 0, dangling: 0}
          resolved: {reference: 4875}
          unresolved: []
          skipped: 0
    totals:
      description: The sums over all steps.
      returned: always
      type: dict
      sample:
        documents: 20000
        candidates: 19874
        to_change: 19874
        to_insert: 0
        indexes_to_build: 13
    estimate:
      description: What the run will cost.
      returned: always
      type: dict
      sample: {seconds: 9, oplog_bytes: 3835682}
    problems:
      description: What the run would refuse, with the fix; empty where it runs.
      returned: always
      type: list
      elements: dict
      sample: []
    warnings:
      description: What a person should know before the run.
      returned: always
      type: list
      elements: str
      sample: []
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
warnings:
  description: What a person should look at. Ansible shows them too.
  returned: when there are any
  type: list
  elements: str
  sample: ["3 documents of items were written by others while the step ran."]
next:
  description: The next command.
  returned: success, and on failure where there is one
  type: str
  sample: ansible-playbook verify.yml -e migration=004
problems:
  description: What the run refuses, with count, samples and fix.
  returned: when the plan blocks the run
  type: list
  elements: dict
  sample:
    - step: 1
      collection: invoices
      what: no organization found
      count: 2
      samples: [{"$oid": "656f1c0e8f1b2a0001c3d4e5"}]
      policy: "when_unresolved: fail"
      fix: name a default in the inventory (migration_variables)
diff:
  description: How much of each collection has the field, before and after.
  returned: in diff mode
  type: dict
  sample:
    before: "items.organizationId: 125 of 5,000 documents set\n"
    after: "items.organizationId: 5,000 of 5,000 documents set\n"
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mongo_migration import module_runner
from ansible.module_utils.mongo_migration.argument_specs import (
    CONNECTION_OPTIONS,
    CONNECTION_RULES,
    DEFINITION_OPTIONS,
    FLEET_OPTIONS,
    RUN_OPTIONS,
)


def migrate(client: Any, module: AnsibleModule, definition: Any) -> dict[str, Any]:
    from ansible.module_utils.mongo_migration.maintenance import mode
    from ansible.module_utils.mongo_migration.procedures import migrate as runner
    from ansible.module_utils.mongo_migration.procedures import plan_text, status, verify

    p = module.params
    if (fleet := module_runner.fleet(client, module)) is not None:
        return migrate_fleet(client, fleet, module, definition)
    if module.check_mode:
        found = status.describe(client=client, database=p["database"], definition=definition)
        result = plan_text.preview(found)
    else:
        job = module_runner.job(
            client,
            module,
            writers_stopped=p["writers_stopped"] and mode.require_on(client, p["database"]),
        )
        result = runner.migrate(
            job,
            definition,
            backup=p["backup"],
            until=p["until"],
        )
        if p["verify"] and result["phase"] in ("applied", "verified"):
            result["verification"] = verify.verify(
                client=client,
                database=p["database"],
                definition=definition,
                operator=job.operator,
                lease_seconds=p["lease_seconds"],
                progress=job.progress,
                stop=job.stop,
            )
    return plan_text.illustrate(result, with_diff=module._diff)


def migrate_fleet(
    client: Any, fleet: Any, module: AnsibleModule, definition: Any
) -> dict[str, Any]:
    """Migrate and verify many databases, or say what that would do."""
    from ansible.module_utils.mongo_migration.fleet import applying, planning
    from ansible.module_utils.mongo_migration.maintenance import mode

    p = module.params
    if module.check_mode:
        found = planning.describe(client, fleet, definition)
        return {**found, "changed": found["migration"]["changes"]}
    stopped = p["writers_stopped"] and mode.require_on(client, p["database"])
    wanted = applying.Wanted(
        definition=definition,
        until=p["until"],
        job=module_runner.job_in_lane(module, writers_stopped=stopped),
        home=p["database"],
        backups=p["backups"],
        backup=p["backup"],
    )
    return applying.apply(fleet, wanted)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            **DEFINITION_OPTIONS,
            **RUN_OPTIONS,
            "writers_stopped": {
                "type": "bool",
                "default": False,
                "aliases": ["frozen"],
            },
            "backup": {"type": "str"},
            "verify": {"type": "bool", "default": False},
            "backups": {"type": "dict", "default": {}},
            **FLEET_OPTIONS,
            "until": {"type": "str", "choices": ["applied", "caught_up"], "default": "applied"},
        },
        supports_check_mode=True,
        **CONNECTION_RULES,
    )
    if "frozen" in module.params:  # Ansible's own words for it would name a version of Ansible
        module.warn("frozen is the old name of writers_stopped, and will be removed in 2.0.0.")
    module_runner.run(module, migrate, before=module_runner.load_definition)


if __name__ == "__main__":
    main()
