#!/usr/bin/python
"""Ansible module: rehearse a migration on a copy of the very data."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mongo_rehearse
short_description: Rehearse a migration on a copy of the very data
version_added: "1.1.0"
description:
  - Restores the newest backup into a database of its own, applies the migration there, verifies it,
    rolls it back, verifies that, compares the copy with the backup (content, options and indexes,
    by digests of every byte), and applies it again. Then the copy is dropped, whatever happens.
  - Of the database in earnest, the backup alone is read. Nobody but this module knows the copy.
  - Migrations that the document builds on and that the backup doesn't have yet are applied to the
    copy first, and rolled back before it is compared.
  - A migration with C(command) steps is refused. A foreign program knows its database by itself,
    and would write to the one in earnest.
  - If this process is killed, the copy stays, with a mark that says whose it is; the next rehearsal
    removes it, and so does O(state=absent). A database without that mark is never touched.
options:
  state:
    description:
      - V(present) rehearses.
      - V(absent) removes what rehearsals of O(database), and drills of its backups, have left that
        were killed; what is at work is let be. In check mode it is named only.
    type: str
    choices: [present, absent]
    default: present
  definition:
    required: false
    description:
      - The B(text) of a migration document, as in C(playbooks/migrations/). Needed with
        O(state=present).
  repairs:
    description:
      - Repairs that are made on the copy before anything else, in this order. They are verified,
        rolled back and made again with the migration.
    type: list
    elements: dict
    default: []
    suboptions:
      definition:
        description: The text of the document.
        type: str
        required: true
      definition_name:
        description: Its file, for messages.
        type: str
        required: true
      variables:
        description: Values for its variables.
        type: dict
        default: {}
  earlier:
    description:
      - The migrations that the document may build on. Those that it names under C(after), and that
        the backup doesn't have, are applied first.
    type: list
    elements: dict
    default: []
    suboptions:
      definition:
        description: The text of the document.
        type: str
        required: true
      definition_name:
        description: Its file, for messages.
        type: str
        required: true
      variables:
        description: Values for its variables.
        type: dict
        default: {}
  archive:
    description:
      - The backup, as M(mongo_backup) made it. Without it, the newest one of O(database) in
        O(dest). It must be of this deployment.
    type: path
  dest:
    description:
      - The folder of the backups, on the host that runs this module.
    type: path
    default: /backups/mongodb
  identity:
    description:
      - The secret key of age that opens an archive which was encrypted to public keys, or the text
        of a file with several.
    type: str
  identity_file:
    description:
      - A file with it, on the host that runs this module.
    type: path
  passphrase:
    description:
      - The passphrase that opens an archive which was encrypted with one.
    type: str
  server:
    description:
      - Where the copy lies. V(deployment) is the deployment itself; its users feel a restore and a
        migration at full speed.
      - V(own) starts a C(mongod) on the host that runs this module, for this rehearsal alone. It
        listens on the loopback address, asks for a password that nobody knows, and is removed with
        its data.
      - V(other) is the deployment of O(rehearsal_uri).
    type: str
    choices: [deployment, own, other]
    default: deployment
  rehearsal_uri:
    description:
      - With O(server=other), how to log in there. The user needs C(readWrite) and C(dbAdmin) on
        O(copy).
    type: str
  mongod:
    description:
      - With O(server=own), the program. It must be of the deployment's series, such as 6.0.
    type: str
    default: mongod
  server_dir:
    description:
      - With O(server=own), the folder for its data, which need the room of the database. Without
        it, the folder C(rehearsal) in O(dest). The data there aren't encrypted.
    type: path
  copy:
    description:
      - The name of the copy; C(_rehearsal) must be in it. Without it, the name of O(database) with
        C(_rehearsal) behind it.
    type: str
extends_documentation_fragment:
  - mongo_connection
  - mongo_definition
  - mongo_run
  - mongo_run.change
attributes:
  check_mode:
    description: Says what it would do, and writes nothing.
    support: full
    details: Reads the backup, and returns which it is and where it would be restored to; a lack of
      room is an error.
  diff_mode:
    description: Returns what differs.
    support: none
    details: No data is changed.
  idempotent:
    description: A second run changes nothing.
    support: full
    details: Nothing is left of the copy, so a rehearsal never reports a change. With
      O(state=absent), the second run finds nothing.
notes:
  - The user needs C(readWrite) and C(dbAdmin) on O(copy) too, with O(server=deployment).
seealso:
  - module: mongo_backup
  - module: mongo_migrate
author: The migration playbooks' authors (@migration-playbooks)
"""

EXAMPLES = r"""
- name: Rehearse migration 004 on the newest backup
  mongo_rehearse:
    uri: "{{ mongo_uri }}"
    database: bizzai
    definition: "{{ lookup('ansible.builtin.file', 'playbooks/migrations/004-….yml') }}"
  register: rehearsal

- name: Rehearse it where nobody feels it
  mongo_rehearse:
    uri: "{{ mongo_uri }}"
    database: bizzai
    definition: "{{ lookup('ansible.builtin.file', 'playbooks/migrations/004-….yml') }}"
    server: own

- name: Remove what a rehearsal left that was killed
  mongo_rehearse:
    uri: "{{ mongo_uri }}"
    database: bizzai
    state: absent
"""

RETURN = r"""
passed:
  description: Whether all of it succeeded.
  returned: always
  type: bool
  sample: true
migration:
  description: What was rehearsed; C(name), C(digest) and C(variables) stand beside it.
  returned: always
  type: str
  sample: "004"
archive:
  description: The backup; C(archive_digest) is its SHA-256.
  returned: always
  type: str
  sample: /backups/mongodb/backup-20261123-020533.tar.gz
snapshot_time:
  description: Of which instant the data are.
  returned: always
  type: str
  sample: "2026-11-23T02:05:33Z"
copy:
  description: The database that was made and dropped.
  returned: always
  type: str
  sample: bizzai_rehearsal
server:
  description: The server that held it.
  returned: always
  type: dict
  sample: {version: 6.0.5, topology: replica_set, set_name: rs0}
repairs:
  description: The repairs that were made on the copy first.
  returned: always
  type: list
  elements: dict
  sample: [{id: R01, repair: duplicate_periods, digest: 3f1c, variables: {keep: oldest}}]
left:
  description: The copy, if it couldn't be dropped.
  returned: not in check mode
  type: list
  elements: str
  sample: []
copies:
  description: >-
    The scratch databases of O(database), and the folders of servers of their own, that are there:
    which, of which database, what for, and who is at work with it; null where nobody is.
  returned: with O(state=absent)
  type: list
  elements: dict
  sample:
    - database: bizzai_rehearsal
      of: bizzai
      purpose: rehearsal of 004 on backup-20261123-020533.tar.gz
      at_work:
removed:
  description: Those that are gone now.
  returned: with O(state=absent)
  type: list
  elements: str
  sample: [bizzai_rehearsal]
remove:
  description: The command that removes those that nobody uses.
  returned: with O(state=absent)
  type: str
  sample: ansible-playbook rehearse.yml -e state=absent
phases:
  description: Each phase with its seconds, also those before a failure.
  returned: not in check mode
  type: list
  elements: dict
  sample: [{phase: restore the copy, seconds: 4.1}, {phase: migrate, seconds: 2.3}]
seconds:
  description: What the plan of the migration says of its own time, from then on.
  returned: success
  type: dict
  sample: {migrate: 2.3, verify: 0.8, roll_back: 1.9, verify_rollback: 0.6}
turns:
  description: Each verification, C(up), C(down) and C(up), with every check.
  returned: not in check mode
  type: list
  elements: dict
  sample: [{direction: up, passed: true, checks: []}]
compared:
  description: The copy after the rollback, compared with the backup.
  returned: success
  type: dict
  sample: {collections: 24, documents: 20000, problems: [], notes: []}
left_alone:
  description: >-
    The documents that a policy left as they are, by collection and reason, as of M(mongo_verify).
  returned: success
  type: list
  elements: dict
  sample:
    - collection: items
      what: addedBy is empty
      policy: "when_unresolved: skip"
      count: 1
      ids: [a]
counts:
  description: How many documents were modified, inserted and deleted.
  returned: success
  type: dict
  sample: {matched: 4875, modified: 4875, inserted: 0, deleted: 0}
problems:
  description: What the plan refuses, as in M(mongo_migrate).
  returned: when the plan blocks the run
  type: list
  elements: dict
  sample: []
next:
  description: The next command.
  returned: success, and on failure where there is one
  type: str
  sample: ansible-playbook migrate-004.yml --check
elapsed:
  description: How many seconds all of it took.
  returned: success
  type: float
  sample: 14.2
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mongo_migration import module_runner
from ansible.module_utils.mongo_migration.argument_specs import (
    CONNECTION_OPTIONS,
    CONNECTION_RULES,
    DEFINITION_OPTIONS,
    EARLIER_OPTIONS,
    RUN_OPTIONS,
)

PLACES = ["deployment", "own", "other"]


def load(module: AnsibleModule) -> Any:
    """Refuse documents that aren't right before anything connects."""
    from ansible.module_utils.mongo_migration.document import definition

    p = module.params
    # Ansible hides the whole text of a secret; here each line of it is one.
    module.no_log_values |= {line for line in (p["identity"] or "").splitlines() if line}
    others = [
        [
            definition.load(
                one["definition"],
                one["definition_name"],
                variables=one["variables"],
                collections=p["collections"],
                assume_applied=p["assume_applied"],
            )
            for one in p[name]
        ]
        for name in ("repairs", "earlier")
    ]
    return module_runner.load_definition(module), *others


def work(client: Any, module: AnsibleModule, loaded: Any) -> dict[str, Any]:
    if module.params["state"] == "absent":
        return clear(client, module)
    return rehearse(client, module, loaded)


def clear(client: Any, module: AnsibleModule) -> dict[str, Any]:
    """Remove what killed commands left, and say what is there."""
    from ansible.module_utils.mongo_migration.backup import scratch
    from ansible.module_utils.mongo_migration.procedures import rehearsal_place

    removed: list[str] = []
    if not module.check_mode:
        operator = module_runner.operator()
        removed = rehearsal_place.remove(client, module.params, operator=operator)
    copies = rehearsal_place.left(client, module.params)
    idle = any(one["at_work"] is None for one in copies)
    return {
        "changed": bool(removed) or (module.check_mode and idle),
        "copies": copies,
        "removed": removed,
        "remove": scratch.REMOVE,
    }


def rehearse(client: Any, module: AnsibleModule, loaded: Any) -> dict[str, Any]:
    from ansible.module_utils.mongo_migration.backup import belief, crypt, newest, open_source
    from ansible.module_utils.mongo_migration.ledger.batches import Settings
    from ansible.module_utils.mongo_migration.procedures import plan_text, rehearsal_place
    from ansible.module_utils.mongo_migration.procedures import rehearse as rehearsal
    from ansible.module_utils.mongo_migration.procedures.work import Job
    from ansible.module_utils.mongo_migration.support import progress, stop

    p, report = module.params, progress.sink(module.params["progress_file"])
    archive = Path(p["archive"] or newest.archive(Path(p["dest"]), p["database"]))
    belief.require(client, p["database"], archive, None, progress=report)
    with (
        open_source.open_source(archive, crypt.Keys.of(p), report) as source,
        rehearsal_place.open_place(
            client, p, size=source.manifest.size, start=not module.check_mode
        ) as server,
    ):
        job = Job(
            client=server or client,
            database=p["copy"] or f"{p['database']}{rehearsal.ENDING}",
            settings=Settings.of(p),
            change=p["change"],
            operator=module_runner.operator(),
            progress=report,
            stop=stop.listen(),
        )
        definition, repairs, earlier = loaded
        play = rehearsal.Play(
            job=job, source=source, definition=definition, repairs=repairs, earlier=earlier
        )
        if not module.check_mode:
            return plan_text.illustrate(rehearsal.rehearse(play))
        return {"changed": False, **rehearsal.look(play, elsewhere=server is None)}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            **DEFINITION_OPTIONS,
            "definition": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            **RUN_OPTIONS,
            **EARLIER_OPTIONS,
            "repairs": EARLIER_OPTIONS["earlier"],
            "archive": {"type": "path"},
            "dest": {"type": "path", "default": "/backups/mongodb"},
            "identity": {"type": "str", "no_log": True},
            "identity_file": {"type": "path"},
            "passphrase": {"type": "str", "no_log": True},
            "server": {"type": "str", "choices": PLACES, "default": PLACES[0]},
            "rehearsal_uri": {"type": "str", "no_log": True},
            "mongod": {"type": "str", "default": "mongod"},
            "server_dir": {"type": "path"},
            "copy": {"type": "str"},
        },
        required_if=[
            ("server", "other", ["rehearsal_uri"]),
            ("state", "present", ["definition"]),
        ],
        supports_check_mode=True,
        **CONNECTION_RULES,
    )
    module_runner.run(module, work, before=load)


if __name__ == "__main__":
    main()
