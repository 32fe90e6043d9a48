#!/usr/bin/python
"""Ansible module: prove that a migration, or its rollback, did what it should and nothing else."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mongo_verify
short_description: Verify a data migration of a MongoDB database
version_added: "1.0.0"
description:
  - Checks the postconditions of a migration document, what each of its steps promises (type of the
    field, existence of what it refers to, finished indexes with equal keys), and that nothing else
    has changed since the run's baseline.
  - No check can pass by accident. A check over a missing collection fails, and one over an empty
    collection passes only if the plan saw it empty too. C(examined) says how much it looked at.
  - Success makes a run that is C(applied) C(verified). At any later time it finds drift, such as
    documents that an application wrote without the field.
options:
  expect:
    description:
      - The state to verify. V(rolled_back) checks that everything is as it was before the run.
    type: str
    choices: [applied, rolled_back]
    default: applied
  run:
    description:
      - The run to verify against. Without it, the newest run of the migration.
    type: str
  fail_on_failed:
    description:
      - Whether a failed check makes the task fail. With V(false), look at RV(passed).
    type: bool
    default: true
  progress_file:
    description:
      - A file on the host that runs the module, where it keeps its newest progress as JSON.
        On this machine the action plugin of the same name watches it.
    type: path
extends_documentation_fragment:
  - mongo_connection
  - mongo_fleet
  - mongo_definition
attributes:
  check_mode:
    description: Says what it would do, and writes nothing to the database.
    support: full
    details: Runs every check, but records nothing.
  diff_mode:
    description: Returns what differs.
    support: none
    details: The checks say what they expected and observed.
  idempotent:
    description: A second run changes nothing.
    support: full
notes:
  - C(SIGINT), C(SIGTERM) and C(SIGHUP) end it at once. It has only read until then, and the run is
    as before.
  - The user needs the role C(readWrite) on O(database); C(read) is enough in check mode.
seealso:
  - module: mongo_migrate
  - module: mongo_rollback
author: The migration playbooks' authors (@migration-playbooks)
"""

EXAMPLES = r"""
- name: Verify migration 004
  mongo_verify:
    uri: "{{ mongo_uri }}"
    database: bizzai
    definition: "{{ lookup('ansible.builtin.file', document) }}"
    definition_name: "{{ document }}"
  vars:
    document: playbooks/migrations/004-add-organization-to-all-models.yml

- name: Prove that the rollback left everything as it was
  mongo_verify:
    uri: "{{ mongo_uri }}"
    database: bizzai
    definition: "{{ lookup('ansible.builtin.file', document) }}"
    definition_name: "{{ document }}"
    expect: rolled_back
    run: 004-20261123020533-9f3c
  vars:
    document: playbooks/migrations/004-add-organization-to-all-models.yml

- name: Look for drift without failing
  mongo_verify:
    uri: "{{ mongo_uri }}"
    database: bizzai
    definition: "{{ lookup('ansible.builtin.file', document) }}"
    fail_on_failed: false
  vars:
    document: playbooks/migrations/003-create-default-financial-period.yml
  check_mode: true
  register: drift
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
next:
  description: What to do about it, as a command without the inventory.
  returned: with O(fleet)
  type: str
  sample: ansible-playbook migrate-004.yml
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
  returned: always
  type: str
  sample: "004"
run:
  description: The run that was verified against.
  returned: when the migration has a run
  type: str
  sample: 004-20261123020533-9f3c
phase:
  description: The phase of the run now.
  returned: when the migration has a run
  type: str
  sample: verified
passed:
  description: Whether no check failed.
  returned: always
  type: bool
  sample: true
left_alone:
  description: >-
    The documents that a policy left as they are, by collection and reason: how many, and which (by
    C(_id), of a collection a thousand). Empty for a rollback.
  returned: always but with O(fleet)
  type: list
  elements: dict
  sample:
    - collection: items
      what: addedBy is empty
      policy: "when_unresolved: skip"
      count: 3
      ids: ["a", "b", "c"]
checks:
  description: Every check.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: What it checks, on what.
      returned: always
      type: str
      sample: "items: every document has organizationId"
    status:
      description: One of C(passed), C(failed), C(skipped).
      returned: always
      type: str
      sample: passed
    expected:
      description: What should be the case.
      returned: always
      type: raw
      sample: 0
    observed:
      description: What is the case.
      returned: always
      type: raw
      sample: 0
    examined:
      description: How many documents or indexes it looked at.
      returned: always
      type: int
      sample: 5000
    detail:
      description: One sentence for people; for a skipped check, why.
      returned: always
      type: str
      sample: 0 of 5,000 documents lack organizationId
    samples:
      description: The C(_id) of a few documents that fail the check.
      returned: always
      type: list
      elements: raw
      sample: []
failures:
  description: The names of the checks that failed.
  returned: always
  type: list
  elements: str
  sample: []
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


def check(client: Any, module: AnsibleModule, definition: Any) -> dict[str, Any]:
    from ansible.module_utils.mongo_migration.errors import MigrationError
    from ansible.module_utils.mongo_migration.procedures import verify
    from ansible.module_utils.mongo_migration.support import progress, stop

    p = module.params
    if (fleet := module_runner.fleet(client, module)) is not None:
        return check_fleet(fleet, module, definition)
    result = verify.verify(
        client=client,
        database=p["database"],
        definition=definition,
        expect=p["expect"],
        run=p["run"],
        record=not module.check_mode,
        operator=module_runner.operator(),
        progress=progress.sink(p["progress_file"]),
        stop=stop.listen(),
    )
    if not result["passed"] and p["fail_on_failed"]:
        names = "".join(f"\n  - {name}" for name in result["failures"])
        raise MigrationError(
            f"{len(result['failures'])} of {len(result['checks'])} checks of migration "
            f"{result['migration']} failed:{names}",
            **result,
        )
    return result


def check_fleet(fleet: Any, module: AnsibleModule, definition: Any) -> dict[str, Any]:
    """Run the checks of many databases."""
    from ansible.module_utils.mongo_migration.errors import MigrationError
    from ansible.module_utils.mongo_migration.fleet import checking

    p = module.params
    if p["run"]:
        raise MigrationError("A run is one database's: name that database instead of a fleet.")
    result = checking.check(fleet, definition, expect=p["expect"], record=not module.check_mode)
    if not result["passed"] and p["fail_on_failed"]:
        lines = "\n".join(result["fleet_text"])
        raise MigrationError(f"Migration {result['migration']} isn't right:\n{lines}", **result)
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            **DEFINITION_OPTIONS,
            "expect": {"type": "str", "choices": ["applied", "rolled_back"], "default": "applied"},
            "run": {"type": "str"},
            "fail_on_failed": {"type": "bool", "default": True},
            **FLEET_OPTIONS,
            "progress_file": {"type": "path"},
        },
        supports_check_mode=True,
        **CONNECTION_RULES,
    )
    module_runner.run(module, check, before=module_runner.load_definition)


if __name__ == "__main__":
    main()
