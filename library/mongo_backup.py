#!/usr/bin/python
"""Ansible module: take and list verified backups of a MongoDB database."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mongo_backup
short_description: Take a verified backup of a MongoDB database, or list the backups there are
version_added: "1.0.0"
description:
  - Writes C(backup-YYYYMMDD-HHMMSS.tar.gz) (UTC) into a folder, and moves the link
    C(latest.tar.gz) there to it, after all of the archive was read again and every checksum,
    count and digest in it was found right.
  - On a replica set, all collections are read at one point in time, whatever is written meanwhile.
    A standalone server has no such reads; RV(manifest.consistent) and RV(manifest.reason) say what
    the archive can't promise. Capped collections are read a moment later.
  - The archive holds the layout of mongodump (C(dump/DATABASE/COLLECTION.bson) and
    C(.metadata.json)), so that C(tar xzf) and C(mongorestore) read it, and a manifest with counts,
    hashes, options, indexes, snapshot time and versions. M(mongo_restore) restores it exactly.
  - With O(encrypt_recipients) or O(encrypt_passphrase) it is C(backup-YYYYMMDD-HHMMSS.tar.gz.age),
    an age file, the link is C(latest.tar.gz.age) (there is only one of the two links), and beside
    the archive lies a description C(.tar.gz.age.json) that O(state=list) and retention read without
    a key. Its plain content never lies on the disk, not even in a temporary file; it is verified
    before it is encrypted, and the encrypted file is read again and held to its SHA-256.
  - A failure of any kind (no space, a lost connection, a kill) leaves earlier backups and the link
    as they were. What a killed process left is removed by the next backup into the folder.
  - Use one folder for each deployment; retention counts the archives of one database.
options:
  state:
    description:
      - V(present) takes a backup.
      - V(list) lists what there is in O(dest), without connecting to a server.
      - V(fold) makes a whole archive in O(dest) out of O(archive), which holds only what changed
        since another one, and of all that it is based on, without connecting to a server. Those
        stay.
      - V(external) runs O(external_command) instead, for organizations whose data are too large for
        an archive.
      - V(relied_on) reads all of O(archive), and requires that it is of O(database) on this
        deployment, and from before O(run) began.
    type: str
    choices: [present, list, external, relied_on, fold]
    default: present
  base:
    description:
      - An archive in O(dest), itself whole or not. Only what changed since then is written, to
        C(backup-YYYYMMDD-HHMMSS.changes.tar.gz), at the cost of the changes and not of the size.
        The link C(latest.tar.gz) stays where it is. M(mongo_restore) restores it with all that it
        is based on, which must lie in the same folder; O(state=fold) makes a whole archive of them.
      - Works on a replica set. A change stream tells what was written, so the oplog must reach back
        to O(base), and the user needs C(readWrite) on O(database), since a mark in C(_migrations)
        that is removed again shows where the stream ends.
      - Where it can't be had, a whole archive is written, and RV(why_whole) says why.
      - It is verified like any other (V(manifest)), but not drilled.
    type: path
  catch_up:
    description:
      - The archive will be the base of another one that is taken once writers are stopped. If it
        took longer than 30 seconds, what changed meanwhile is written too, to archives that are
        based on it (at most two), so that the last one is small.
      - The result is that of the newest one.
    type: bool
    default: false
  identity:
    description:
      - With O(state=fold), the text of the secret key that opens encrypted archives. One that a
        passphrase opens is opened with O(encrypt_passphrase).
    type: str
  identity_file:
    description:
      - With O(state=fold), a file with that key.
    type: path
  archive:
    description:
      - With O(state=relied_on), the archive that a run names as its backup.
      - With O(state=fold), the archive to be made whole.
    type: path
  run:
    description:
      - With O(state=relied_on), the id of that run.
    type: str
  dest:
    description:
      - The folder that keeps the archives, on the host that runs this module. It is made if
        needed, with mode 0700; archives have mode 0600. One that exists keeps its mode; it is
        refused if it is another user's, or if others may write there.
    type: path
    default: /backups/mongodb
  keep_count:
    description:
      - Remove older archives of O(database), but keep this many of the newest.
      - Whatever O(keep_count) and O(keep_days) say, the newest readable archive, the one that
        C(latest.tar.gz) shows, archives that can't be read, and those that a run relies on that
        was not rolled back are never removed.
    type: int
  keep_days:
    description:
      - Keep archives that are younger than this. With O(keep_count) too, an archive is kept if
        either says so. Without both, nothing is removed.
    type: float
  verify:
    description:
      - With O(state=list), read all of each archive again, instead of trusting that it was
        verified when it was written and still has its length and its manifest.
    type: bool
    default: false
  fsync_lock:
    description:
      - On a standalone server, block all writes of the server during the backup, so that it is of
        one point in time. Needs the privileges C(fsync) and C(unlock). If this process is killed,
        the server stays blocked until C(db.fsyncUnlock()); the next backup or restore says so.
    type: bool
    default: false
  snapshot_window:
    description:
      - Set the server's snapshot history window to this many seconds during the backup
        (C(minSnapshotHistoryWindowInSeconds), 300 by default), and as long as before afterwards.
        Needs the privileges C(getParameter) and C(setParameter), and reaches the primary only.
        Set it for backups that take longer than the server keeps.
    type: int
  retry_seconds:
    description:
      - How long to wait for a primary when the present one is lost, or for a majority of the
        members. The backup then starts over, at a new point in time.
    type: int
    default: 300
  encrypt_recipients:
    description:
      - Encrypt the archive to these public keys of age (C(age1…), as C(age-keygen) makes them). Any
        one of the secret keys that belong to them restores it. This host needs none of them.
    type: list
    elements: str
    default: []
  encrypt_passphrase:
    description:
      - Encrypt the archive with this passphrase instead. Each archive gets a key of its own, which
        lies in the description beside it, locked by the passphrase. Keep both files together.
    type: str
  verification:
    description:
      - V(manifest) reads all of the archive again and holds it to its checksums, hashes, counts and
        digests, before it gets its name.
      - V(drill) then restores it into O(drill_database) too, over collections of the same names,
        compares that with the manifest, and drops it. Only this proves that it restores. The
        archive stays if the drill fails, but the task fails.
    type: str
    choices: [manifest, drill]
    default: manifest
  drill_database:
    description:
      - The database for the drill. It must not exist, and C(_drill) must be in its name, because it
        is dropped. Without it, the name of O(database) with C(_drill) behind it.
      - The server needs room for it, and the user C(readWrite) and C(dbAdmin) on it.
    type: str
  external_command:
    description:
      - With O(state=external), the command and its arguments that take the backup, such as a script
        around a volume snapshot or Percona Backup for MongoDB. No shell is involved.
      - It finds the database in the environment variable C(BACKUP_DATABASE) and O(change) as JSON
        in C(BACKUP_CHANGE). It must end with code 0 only when the backup is complete, and print one
        JSON object with at least C(id) and C(snapshot_time), the receipt.
    type: list
    elements: str
  external_timeout:
    description:
      - How many seconds O(external_command) may take.
    type: int
    default: 14400
  progress_file:
    description:
      - File that is replaced with the progress, as JSON, for whoever shows it.
    type: path
  migration:
    description:
      - With O(fleet), the id of the migration that the backups are for. Databases where it is done
        get none, and a run that has begun keeps its own where that can be relied on.
    type: str
extends_documentation_fragment:
  - mongo_connection
  - mongo_fleet
  - mongo_run.change
attributes:
  check_mode:
    description: Says what it would do, and writes nothing.
    support: full
    details: Returns RV(plan), what a backup would take in bytes, seconds and disk. Writes, locks
      and removes a small file in O(dest), if it exists, to see whether it can.
  diff_mode:
    description: Returns what differs.
    support: none
    details: A backup changes no data.
  idempotent:
    description: A second run changes nothing.
    support: none
    details: Each run takes a new backup.
notes:
  - The user needs C(read) on O(database) and the action C(collStats), which C(dbAdmin) has. With
    time series, it needs the role C(backup) on C(admin).
seealso:
  - module: mongo_restore
author: The migration playbooks' authors (@migration-playbooks)
"""

EXAMPLES = r"""
- name: Take a backup, and keep ten
  mongo_backup:
    uri: "{{ mongo_uri }}"
    database: bizzai
    dest: /backups/mongodb
    keep_count: 10
    change:
      ticket: CHG-1234

- name: Say what a backup would take
  mongo_backup:
    uri: "{{ mongo_uri }}"
    database: bizzai
  check_mode: true
  register: backup

- name: Take a backup and prove that it restores
  mongo_backup:
    uri: "{{ mongo_uri }}"
    database: bizzai
    verification: drill

- name: Let the storage take a snapshot
  mongo_backup:
    uri: "{{ mongo_uri }}"
    database: bizzai
    state: external
    external_command: [/usr/local/bin/snapshot-mongodb, --volume, data]

- name: Take a backup that only the holder of the secret key can read
  mongo_backup:
    uri: "{{ mongo_uri }}"
    database: bizzai
    encrypt_recipients: [age1f6l25fc30fd9274r6l0k7k99v8tuhksgh5y8gnc75le428xhrq3qwp448e]

- name: Write only what changed since an earlier backup
  mongo_backup:
    uri: "{{ mongo_uri }}"
    database: bizzai
    base: /backups/mongodb/backup-20261123-020533.tar.gz

- name: Make a whole archive of it that mongorestore reads
  mongo_backup:
    database: bizzai
    state: fold
    archive: /backups/mongodb/backup-20261123-021002.changes.tar.gz

- name: List the backups, and read all of them again
  mongo_backup:
    database: bizzai
    state: list
    verify: true
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
archive:
  description: The archive that was written.
  returned: when a backup was taken
  type: str
  sample: /backups/mongodb/backup-20261123-020533.tar.gz
latest:
  description: The link to the newest verified archive, null where the folder takes no links; with
    O(state=list), what it shows.
  returned: always but in check mode
  type: str
  sample: /backups/mongodb/latest.tar.gz
base:
  description: The archive without which this one is nothing; null if it is whole.
  returned: when a backup was taken
  type: str
  sample: /backups/mongodb/backup-20261123-020533.tar.gz
why_whole:
  description: Why the archive is whole although O(base) was given; null if it isn't, or wasn't.
  returned: when a backup was taken
  type: str
  sample: >-
    No incremental backup on backup-20261123-020533.tar.gz: the oplog doesn't reach back to it any
    more. A whole one was taken.
chain:
  description: The archive and all that it is based on, the newest first. All are needed to restore.
  returned: when a backup was taken
  type: list
  elements: str
  sample:
    - /backups/mongodb/backup-20261123-021002.changes.tar.gz
    - /backups/mongodb/backup-20261123-020533.tar.gz
earlier:
  description: The archives that were made before, the oldest first, which the newest is based on.
  returned: with O(catch_up)
  type: list
  elements: str
  sample: [/backups/mongodb/backup-20261123-020533.tar.gz]
folded:
  description: The archives that were made one.
  returned: with O(state=fold)
  type: list
  elements: str
  sample:
    - /backups/mongodb/backup-20261123-021002.changes.tar.gz
    - /backups/mongodb/backup-20261123-020533.tar.gz
bytes:
  description: The size of the archive.
  returned: when a backup was taken
  type: int
  sample: 55988810
encrypted:
  description: Whether it is encrypted.
  returned: when a backup was taken
  type: bool
  sample: false
verified:
  description: Whether all of the archive was read again and found right; it has no name otherwise.
  returned: when a backup was taken
  type: bool
  sample: true
manifest:
  description: What the archive says of itself.
  returned: when a backup was taken
  type: dict
  contains:
    database:
      description: The database.
      returned: always
      type: str
      sample: bizzai
    consistent:
      description: Whether all collections are of one point in time.
      returned: always
      type: bool
      sample: true
    reason:
      description: Why not, or what to know about it; null if nothing.
      returned: always
      type: str
      sample: "Capped collections can't be read at a snapshot; they were read a moment later: log."
    snapshot_time:
      description: That point in time.
      returned: always
      type: str
      sample: "2026-11-23T02:05:33Z"
    documents:
      description: How many documents the archive holds.
      returned: always
      type: int
      sample: 20000
    size:
      description: How many bytes of BSON the archive holds.
      returned: always
      type: int
      sample: 9184512
    collections:
      description: Each collection with its type, count, size, SHA-256, digest and index names.
      returned: always
      type: list
      elements: dict
      sample:
        - name: items
          type: collection
          count: 5000
          size: 2296105
          sha256: a197d4d08bdc2039cf3c3bd5fbd2400f65c802f378fe118cd804270ba1b79645
          digest: 7e10ae834ef4de7fb9ff698d6317ddee
          at_snapshot: true
          indexes: [_id_, organizationId_1]
    server:
      description: Version and topology of the server.
      returned: always
      type: dict
      sample: {version: 6.0.5, topology: replica_set, set_name: rs0}
    format:
      description: The format of the archive.
      returned: always
      type: int
      sample: 1
elapsed:
  description: How many seconds it took, with verification.
  returned: when a backup was taken
  type: float
  sample: 9.9
seconds:
  description: The parts of RV(elapsed), C(dump) and C(verify).
  returned: when a backup was taken
  type: dict
  sample: {dump: 6.2, verify: 3.7}
removed:
  description: The names of older archives that were removed by retention.
  returned: when a backup was taken
  type: list
  elements: str
  sample: [backup-20261101-020501.tar.gz]
cleaned:
  description: The names of unfinished files of killed processes that were removed.
  returned: when a backup was taken
  type: list
  elements: str
  sample: []
drill:
  description: What the drill restored and compared.
  returned: with O(verification=drill)
  type: dict
  sample:
    scratch: bizzai_drill
    collections: 24
    documents: 20000
    passed: true
    elapsed: 7.1
external:
  description: The receipt of the external backup, its command and how long it took.
  returned: with O(state=external)
  type: dict
  sample:
    receipt: {id: snap-0f3a, snapshot_time: "2026-11-23T02:05:33Z"}
    command: [/usr/local/bin/snapshot-mongodb, --volume, data]
    elapsed: 12.5
plan:
  description: What a backup would take.
  returned: in check mode
  type: dict
  contains:
    documents:
      description: How many documents there are, by the server's estimate.
      returned: always
      type: int
      sample: 20000
    bytes:
      description: How many bytes of BSON would be read.
      returned: always
      type: int
      sample: 9184512
    archive_bytes:
      description: How large the archive would be, by the experience with earlier ones.
      returned: always
      type: int
      sample: 2893121
    free_bytes:
      description: How much room there is.
      returned: always
      type: int
      sample: 85899345920
    fits:
      description: Whether that suffices; an encrypted one needs the room twice for a moment.
      returned: always
      type: bool
      sample: true
    seconds:
      description: How long it would take, by the experience with earlier ones.
      returned: always
      type: float
      sample: 0.4
    consistent:
      description: Whether it would be of one point in time.
      returned: always
      type: bool
      sample: true
    ahead:
      description: Whether what changes during the backup can be added to it afterwards, so that
        most of it is taken before writers are stopped. If not, C(why_not) says why. C(lately) is
        the newest archive that can be added to, if it was taken within the last hour.
      returned: without O(fleet)
      type: dict
      sample: {why_not: null, lately: /backups/mongodb/backup-20261123-020533.tar.gz}
    needed_bytes:
      description: How much room it needs for the time of the backup.
      returned: always
      type: int
      sample: 70001985
    encrypted:
      description: Whether it would be encrypted.
      returned: always
      type: bool
      sample: false
    warnings:
      description: What to see to before, such as a server that keeps too little of its past.
      returned: always
      type: list
      elements: str
      sample: []
newest:
  description: The newest archive of O(database) that is intact, as in RV(backups); null if there is
    none. Other databases may keep theirs in the same folder.
  returned: with O(state=list)
  type: dict
  sample: {archive: /backups/mongodb/backup-20261123-020533.tar.gz, age_seconds: 3600}
by_database:
  description:
    Of many databases, how many archives the folder of each holds, how many of them can't be relied
    on (C(bad)), and the C(newest) one that can. Databases without any aren't there.
  returned: with O(state=list) and O(fleet)
  type: list
  elements: dict
  sample:
    - database: tenant_7
      archives: 3
      bad: 0
      newest: {archive: /backups/mongodb/tenant_7/backup-20261123-020533.tar.gz}
backups:
  description: The archives in the folder, newest first.
  returned: with O(state=list)
  type: list
  elements: dict
  contains:
    archive:
      description: Its path.
      returned: always
      type: str
      sample: /backups/mongodb/backup-20261123-020533.tar.gz
    bytes:
      description: Its size.
      returned: always
      type: int
      sample: 55988810
    made:
      description: When it was taken.
      returned: always
      type: str
      sample: "2026-11-23T02:05:33Z"
    age_seconds:
      description: How long ago that is.
      returned: always
      type: int
      sample: 3600
    latest:
      description: Whether the link to the latest shows it.
      returned: always
      type: bool
      sample: true
    encrypted:
      description: Whether it is encrypted.
      returned: always
      type: bool
      sample: false
    verified:
      description: Whether it is intact, as far as O(verify) looks.
      returned: always
      type: bool
      sample: true
    problem:
      description: What is wrong with it; null if nothing.
      returned: always
      type: str
      sample: the archive is truncated
    database:
      description: Of which database it is.
      returned: always
      type: str
      sample: bizzai
    consistent:
      description: Whether it is of one point in time.
      returned: always
      type: bool
      sample: true
    documents:
      description: How many documents it holds.
      returned: always
      type: int
      sample: 20000
    base:
      description: The name of the archive that it is based on; null if it is whole.
      returned: always
      type: str
      sample: backup-20261123-020533.tar.gz
    note:
      description: The O(change) that it was taken for.
      returned: always
      type: dict
      sample: {ticket: CHG-1234}
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mongo_migration import module_runner
from ansible.module_utils.mongo_migration.argument_specs import (
    CHANGE_OPTIONS,
    CONNECTION_OPTIONS,
    CONNECTION_RULES,
    FLEET_OPTIONS,
)


def without_server(module: AnsibleModule) -> None:
    """End here with what needs no server: it must work when none does."""
    if module.params["state"] == "fold":
        fold_archives(module)
    if module.params["state"] != "list":
        return
    from ansible.module_utils.mongo_migration.backup import create
    from ansible.module_utils.mongo_migration.fleet import archives
    from ansible.module_utils.mongo_migration.support import progress
    from ansible.module_utils.mongo_migration.values import ejson

    sink = progress.sink(module.params["progress_file"])
    result = archives.listed(module.params, now=create.utc_now(), progress=sink)
    for warning in result.pop("warnings"):
        module.warn(warning)
    module.exit_json(changed=False, **ejson.to_plain(result))


def fold_archives(module: AnsibleModule) -> None:
    from ansible.module_utils.mongo_migration.backup import create, crypt, fold
    from ansible.module_utils.mongo_migration.support import progress

    p = module.params
    module.no_log_values |= {line for line in (p["identity"] or "").splitlines() if line}
    keys = crypt.Keys.of({**p, "passphrase": p["encrypt_passphrase"]})
    sink = progress.sink(p["progress_file"])
    result = fold.run(
        Path(p["archive"]), keys, create.Settings.of(p), progress=sink, planned=module.check_mode
    )
    for warning in result.pop("warnings", []):
        module.warn(warning)
    module.exit_json(changed=True, **result)


def take(client: Any, module: AnsibleModule, _listed: None) -> dict[str, Any]:
    from ansible.module_utils.mongo_migration.backup import beforehand, create, drill, estimate
    from ansible.module_utils.mongo_migration.errors import InterruptedRunError
    from ansible.module_utils.mongo_migration.ledger import partial_restore
    from ansible.module_utils.mongo_migration.support import progress, stop

    p = module.params
    if p["state"] == "external":
        return call(module)
    if p["state"] == "relied_on":
        return rely_on(client, module)
    settings = create.Settings.of(p)
    if (fleet := module_runner.fleet(client, module)) is not None:
        from ansible.module_utils.mongo_migration.fleet import saving

        return saving.take(client, fleet, settings, p, check_mode=module.check_mode)
    if module.check_mode:
        plan = estimate.plan(client, p["database"], settings)
        plan["ahead"] = beforehand.plan(client, p["database"], settings, seconds=plan["seconds"])
        return {"changed": True, "plan": plan, "warnings": plan["warnings"]}
    # Nobody wants an archive of a half-done restore, still less as `latest`.
    partial_restore.refuse(client[p["database"]])
    report, asked = progress.sink(p["progress_file"]), stop.listen()

    def sink(event: dict[str, Any]) -> None:
        report(event)
        asked.check()

    drilled = drill.examiner(
        client,
        name=p["drill_database"] or drill.scratch_name(p["database"]),
        operator=module_runner.operator(),
        progress=sink,
        stop=asked,
    )
    try:
        result = (beforehand if p["catch_up"] else create).back_up(
            client,
            p["database"],
            settings,
            progress=sink,
            stop=asked,
            examine=drilled if p["verification"] == "drill" else None,
        )
    except InterruptedRunError as error:
        raise InterruptedRunError(
            f"Stopped: {asked.reason}. No archive was made; older ones and the link to the latest "
            "are as they were. Run the same command again."
        ) from error
    if "examined" in result:
        result["drill"] = result.pop("examined")
    return {"changed": True, **result}


def rely_on(client: Any, module: AnsibleModule) -> dict[str, Any]:
    """Require that the backup which a run names is what the run may rely on."""
    from ansible.module_utils.mongo_migration.backup import belief
    from ansible.module_utils.mongo_migration.support import progress

    p = module.params
    report = progress.sink(p["progress_file"])
    belief.require(client, p["database"], Path(p["archive"]), p["run"], progress=report)
    return {"changed": False, "archive": p["archive"], "verified": True}


def call(module: AnsibleModule) -> dict[str, Any]:
    """Let another tool take the backup."""
    from ansible.module_utils.mongo_migration.backup import create, external

    p = module.params
    if module.check_mode:
        return {"changed": True, "plan": {"command": p["external_command"]}}
    receipt = external.run(
        p["external_command"],
        database=p["database"],
        change=p["change"],
        timeout=p["external_timeout"],
        now=create.utc_now,
    )
    return {"changed": True, "external": receipt}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            **CHANGE_OPTIONS,
            "state": {
                "type": "str",
                "choices": ["present", "list", "external", "relied_on", "fold"],
                "default": "present",
            },
            "archive": {"type": "path"},
            "base": {"type": "path"},
            "catch_up": {"type": "bool", "default": False},
            "identity": {"type": "str", "no_log": True},
            "identity_file": {"type": "path"},
            "run": {"type": "str"},
            "dest": {"type": "path", "default": "/backups/mongodb"},
            "keep_count": {"type": "int"},
            "keep_days": {"type": "float"},
            "verify": {"type": "bool", "default": False},
            "fsync_lock": {"type": "bool", "default": False},
            "snapshot_window": {"type": "int"},
            "retry_seconds": {"type": "int", "default": 300},
            "encrypt_recipients": {"type": "list", "elements": "str", "default": []},
            "encrypt_passphrase": {"type": "str", "no_log": True},
            "verification": {
                "type": "str",
                "choices": ["manifest", "drill"],
                "default": "manifest",
            },
            "drill_database": {"type": "str"},
            "external_command": {"type": "list", "elements": "str"},
            "external_timeout": {"type": "int", "default": 14400},
            "progress_file": {"type": "path"},
            "migration": {"type": "str"},
            **FLEET_OPTIONS,
        },
        required_if=[
            ("state", "external", ["external_command"]),
            ("state", "relied_on", ["archive", "run"]),
            ("state", "fold", ["archive"]),
        ],
        supports_check_mode=True,
        **CONNECTION_RULES,
    )
    module_runner.run(module, take, before=without_server)


if __name__ == "__main__":
    main()
