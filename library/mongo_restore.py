#!/usr/bin/python
"""Ansible module: make a MongoDB database equal to a backup."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mongo_restore
short_description: Make a MongoDB database equal to a backup
version_added: "1.0.0"
description:
  - Reads all of the archive first. A damaged, truncated, foreign or newer one is refused before
    anything is touched.
  - Loads everything beside the present data, builds the indexes, reads it back and compares it with
    the manifest. Only then each collection takes the place of the present one, in one step of the
    server; collections that the backup doesn't have are removed. A failure before that leaves the
    database as it was. One during the replacing is told, and the same task again completes it.
  - Afterwards documents (byte for byte), options and indexes are those of the backup. Only the
    documents C(lease), C(maintenance) and C(restore) of the collection C(_migrations) stay, because
    they tell of the present.
  - A restore throws away every later write. To undo a migration, M(mongo_rollback) is the exact
    way, which throws away none.
options:
  archive:
    description:
      - The archive, as M(mongo_backup) made it, or a link to it. A folder is taken as one that
        C(mongodump) made, with or without C(--gzip); it holds no hashes to compare with. What
        servers of today refuse in it is put in their words, or refused by name at once.
      - An encrypted archive is decrypted into a scratch file without a name, which is itself
        encrypted and needs as much room as the archive, beside it or in C(TMPDIR).
    type: path
    required: true
  identity:
    description:
      - The secret key of age that opens an archive which was encrypted to public keys
        (C(AGE-SECRET-KEY-1…)), or the text of a file with several.
    type: str
  identity_file:
    description:
      - A file with it, on the host that runs this module.
    type: path
  passphrase:
    description:
      - The passphrase that opens an archive which was encrypted with one.
    type: str
  encrypt_recipients:
    description:
      - Encrypt the safety backup to these public keys of age. Without them, it is encrypted with
        O(passphrase); without that too, an encrypted archive gets a safety backup that the same
        secret key opens, and a plain one gets a plain one.
    type: list
    elements: str
    default: []
  target_database:
    description:
      - Restore into this database instead of O(database).
    type: str
  source_database:
    description:
      - Of which database the backup has to be. Without it, of O(database).
    type: str
  confirm:
    description:
      - The name of the database that is replaced. Without it, nothing is done, and the error says
        which writes would be lost.
    type: str
  digest:
    description:
      - The RV(plan.digest) of the archive that was looked at and confirmed. Another one, which took
        its place meanwhile, is refused.
    type: str
  safety_backup:
    description:
      - Take a backup of the present data first, into the folder C(before-restore) of
        O(safety_dest), which has a C(latest.tar.gz) of its own and keeps five.
    type: bool
    default: true
  safety_dest:
    description:
      - Where to keep it. Without this, beside the archive.
    type: path
  check_space:
    description:
      - Refuse if the server's disk has less room than the backup has BSON. Both the backup and the
        present data lie there until the end.
    type: bool
    default: true
  lease_seconds:
    description:
      - How long the lease of the database lives without being renewed. A restore that was killed
        on another machine keeps others out for this long.
    type: int
    default: 30
  retry_seconds:
    description:
      - How long to wait for a primary when the present one is lost while the backup is loaded
        beside the present data, or for a majority of the members. Loading then starts over.
    type: int
    default: 300
  progress_file:
    description:
      - File that is replaced with the progress, as JSON, for whoever shows it.
    type: path
extends_documentation_fragment:
  - mongo_connection
attributes:
  check_mode:
    description: Says what it would do, and writes nothing.
    support: full
    details: Reads the archive's manifest and the database, and returns RV(plan).
  diff_mode:
    description: Returns what differs.
    support: none
    details: RV(plan) says for each collection how many documents it has and would have.
  idempotent:
    description: A second run changes nothing.
    support: none
    details: A second run does all of it again, with the same result.
notes:
  - The user needs the roles C(readWrite) and C(dbAdmin) on the database (C(restore) alone can't
    read back what it restored), with time series also C(backup) and C(restore) on C(admin), and
    C(bypassWriteBlockingMode) while the write block is on.
  - C(SIGINT), C(SIGTERM) and C(SIGHUP) end it while the data are still being loaded, with the
    database as it was; later it goes on to the end.
  - The collections get new UUIDs, which ends change streams on them. Stop the applications first.
seealso:
  - module: mongo_backup
  - module: mongo_rollback
author: The migration playbooks' authors (@migration-playbooks)
"""

EXAMPLES = r"""
- name: Say what a restore would replace and lose
  mongo_restore:
    uri: "{{ mongo_uri }}"
    database: bizzai
    archive: /backups/mongodb/latest.tar.gz
  check_mode: true
  register: restore

- name: Make the database equal to the newest backup
  mongo_restore:
    uri: "{{ mongo_uri }}"
    database: bizzai
    archive: /backups/mongodb/latest.tar.gz
    confirm: bizzai

- name: Restore an encrypted backup
  mongo_restore:
    uri: "{{ mongo_uri }}"
    database: bizzai
    archive: /backups/mongodb/latest.tar.gz.age
    identity: "{{ vault_backup_identity }}"
    confirm: bizzai

- name: Look at yesterday's data beside today's
  mongo_restore:
    uri: "{{ mongo_uri }}"
    database: bizzai
    archive: /backups/mongodb/backup-20261122-020501.tar.gz
    target_database: bizzai_yesterday
    confirm: bizzai_yesterday
"""

RETURN = r"""
archive:
  description: The archive that was restored.
  returned: when it was restored
  type: str
  sample: /backups/mongodb/latest.tar.gz
snapshot_time:
  description: The moment that the database is back at.
  returned: when it was restored
  type: str
  sample: "2026-11-23T02:05:33Z"
collections:
  description: How many collections, time series and views the database has now.
  returned: when it was restored
  type: int
  sample: 24
documents:
  description: How many documents were restored.
  returned: when it was restored
  type: int
  sample: 20000
bytes:
  description: How many bytes of BSON were restored.
  returned: when it was restored
  type: int
  sample: 9184512
removed:
  description: The collections that were removed because the backup doesn't have them.
  returned: when it was restored
  type: list
  elements: str
  sample: [scratch]
lost:
  description: What was thrown away.
  returned: when it was restored
  type: dict
  contains:
    since:
      description: Since when.
      returned: always
      type: str
      sample: "2026-11-23T02:05:33Z"
    writes:
      description: Inserts, updates and deletes by collection; null where the oplog doesn't tell.
      returned: always
      type: dict
      sample: {items: {inserted: 3, updated: 12}}
    documents:
      description: How many documents more than the backup each collection had.
      returned: always
      type: dict
      sample: {items: 3}
    removed:
      description: The collections that the backup doesn't have.
      returned: always
      type: list
      elements: str
      sample: [scratch]
    runs:
      description: The runs of migrations that the backup knows nothing of, or in another phase.
      returned: always
      type: list
      elements: dict
      sample: [{run: 004-20261123020533-9f3c, migration: "004", phase: verified}]
safety_backup:
  description: The backup of the data that were replaced.
  returned: when it was restored
  type: str
  sample: /backups/mongodb/before-restore/backup-20261123-031502.tar.gz
verified:
  description: Whether the data were read back and compared with the manifest.
  returned: when it was restored
  type: bool
  sample: true
elapsed:
  description: How many seconds it took.
  returned: when it was restored
  type: float
  sample: 26.0
plan:
  description: What a restore would do.
  returned: in check mode, and when the confirmation is missing
  type: dict
  contains:
    snapshot_time:
      description: The moment that the database would be back at.
      returned: always
      type: str
      sample: "2026-11-23T02:05:33Z"
    consistent:
      description: Whether the backup is of one point in time.
      returned: always
      type: bool
      sample: true
    collections:
      description: Each collection with C(action) (replace, create, remove or empty),
        C(documents_now) and C(documents_in_backup).
      returned: always
      type: list
      elements: dict
      sample:
        - {collection: items, action: replace, documents_now: 5003, documents_in_backup: 5000}
    removed:
      description: The collections that would be removed.
      returned: always
      type: list
      elements: str
      sample: [scratch]
    lost:
      description: What would be thrown away, as in RV(lost).
      returned: always
      type: dict
      sample: {since: "2026-11-23T02:05:33Z", writes: {items: {inserted: 3}}}
    digest:
      description: SHA-256 over all of the backup, which tells it from any other.
      returned: always
      type: str
      sample: 7c1f0e7f3b0a5f6f6a1b5a0a9d3f1f0f9d7f4c2b8a6e5d4c3b2a190817263544
    free_bytes:
      description: How much room the server's disk has; null where the user may not ask.
      returned: always
      type: int
      sample: 85899345920
    notes:
      description: What a folder of mongodump holds that is left out or put in other words.
      returned: always
      type: list
      elements: str
      sample: ["oplog.bson isn't replayed: each collection comes back as of its own moment."]
    warnings:
      description: What to see to before, such as documents that have expired by a TTL index.
      returned: in check mode
      type: list
      elements: str
      sample: []
    confirmed:
      description: Whether O(confirm) names the database.
      returned: always
      type: bool
      sample: false
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mongo_migration import module_runner
from ansible.module_utils.mongo_migration.argument_specs import CONNECTION_OPTIONS, CONNECTION_RULES


def open_backup(module: AnsibleModule) -> Any:
    """Refuse what isn't a backup before anything connects."""
    from ansible.module_utils.mongo_migration.backup import open_source
    from ansible.module_utils.mongo_migration.support import progress

    p = module.params
    # Ansible hides the whole text of a secret; here each line of it is one.
    module.no_log_values |= {line for line in (p["identity"] or "").splitlines() if line}
    sink = progress.sink(p["progress_file"])
    return open_source.open_source(Path(p["archive"]), keys(module), sink)


def keys(module: AnsibleModule) -> Any:
    from ansible.module_utils.mongo_migration.backup import crypt

    return crypt.Keys.of(module.params)


def safety_lock(module: AnsibleModule, source: Any) -> Any:
    """Never put in the clear, for safety's sake, what the archive keeps secret."""
    from ansible.module_utils.mongo_migration.backup import crypt

    p = module.params
    if p["encrypt_recipients"]:
        return crypt.Lock(recipients=tuple(p["encrypt_recipients"]))
    if p["passphrase"] or getattr(source, "encrypted", False):
        return keys(module).lock()
    return crypt.Lock()


def bring_back(client: Any, module: AnsibleModule, source: Any) -> dict[str, Any]:
    from ansible.module_utils.mongo_migration.backup import restore
    from ansible.module_utils.mongo_migration.ledger import lease
    from ansible.module_utils.mongo_migration.support import progress, retry, stop

    p = module.params
    archive = Path(p["archive"])
    settings = restore.Settings(
        database=p["target_database"] or p["database"],
        source_database=p["source_database"] or p["database"],
        confirm=p["confirm"],
        digest=p["digest"],
        safety_folder=Path(p["safety_dest"] or archive.parent) if p["safety_backup"] else None,
        safety_lock=safety_lock(module, source),
        check_space=p["check_space"],
        retry_seconds=p["retry_seconds"],
    )
    report = progress.sink(p["progress_file"])
    if module.check_mode:
        return {"changed": True, "plan": restore.look(client, source, settings, progress=report)}
    asked = stop.listen()
    result = restore.restore(
        client,
        source,
        settings,
        hold=lambda database: lease.hold(
            database,
            purpose=f"restore of {archive.name}",
            holder=module_runner.operator(),
            seconds=p["lease_seconds"],
            patience=retry.Patience.telling(report, "lease", p["retry_seconds"], asked),
        ),
        progress=report,
        stop=asked,
    )
    for text in result.pop("warnings"):
        module.warn(text)
    return {"changed": True, **result}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            "archive": {"type": "path", "required": True},
            "identity": {"type": "str", "no_log": True},
            "identity_file": {"type": "path"},
            "passphrase": {"type": "str", "no_log": True},
            "encrypt_recipients": {"type": "list", "elements": "str", "default": []},
            "target_database": {"type": "str"},
            "source_database": {"type": "str"},
            "confirm": {"type": "str"},
            "digest": {"type": "str"},
            "safety_backup": {"type": "bool", "default": True},
            "safety_dest": {"type": "path"},
            "check_space": {"type": "bool", "default": True},
            "lease_seconds": {"type": "int", "default": 30},
            "retry_seconds": {"type": "int", "default": 300},
            "progress_file": {"type": "path"},
        },
        supports_check_mode=True,
        **CONNECTION_RULES,
    )
    module_runner.run(module, bring_back, before=open_backup)


if __name__ == "__main__":
    main()
