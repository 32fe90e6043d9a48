#!/usr/bin/python
"""Ansible module: switch the maintenance mode of a database, and prove that writes are refused."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mongo_maintenance
short_description: Switch the maintenance mode of a MongoDB database
version_added: "1.0.0"
description:
  - Records in the database that maintenance mode is on or off, since when, by whom and why.
  - Where the server can, it also switches the server's write block, which refuses the writes of
    every user that may not bypass it. That needs MongoDB 6.0 or later, as a replica set or a
    sharded cluster, and a user that may bypass it.
  - Before that it waits, with O(drain), until nobody else writes to the database any more.
  - With O(probe_uri), it proves that the writes of an ordinary user are refused.
  - The flag that the application reads is not the module's business but the playbooks'.
options:
  state:
    description:
      - Whether maintenance mode is to be on.
    type: str
    choices: ["on", "off"]
    required: true
  reason:
    description:
      - Why, for whoever finds the database in this state.
    type: str
  write_block:
    description:
      - Whether to switch the server's write block too.
      - With V(auto), where the server can; a warning says so where it can't.
      - With V(required), the task fails where the server can't, before it changes anything.
      - With V(never), the write block is left as it is.
      - The write block holds for B(every) database of the deployment.
    type: str
    choices: [auto, required, never]
    default: auto
  applications:
    description:
      - Hosts whose application was seen to refuse a write, or with O(phase=begin) will be asked to.
        That one was told proves nothing. With O(state=on), where the write block isn't used and
        there is no such host either, nothing would keep writers out, and the task fails.
    type: list
    elements: str
    default: []
  phase:
    description:
      - A switch takes a while, as every application has to be told. With V(begin) it is recorded
        that it has begun, and V(complete) records its end. Where that never comes, the record
        shows RV(switching), and the next switch knows that applications may differ.
      - Writes are refused with V(complete) of O(state=on), after the applications were told, and
        accepted with V(begin) of O(state=off), before they are told.
    type: str
    choices: [begin, complete]
    default: complete
  drain:
    description:
      - With O(state=on) and O(phase=complete), wait until nobody else writes to O(database), before
        writes are refused. Without this option, don't look.
      - Nobody writes if for O(drain.quiet_seconds) no operation that writes is at work, no
        transaction is open, and the server's counters of writes stand still. Where the write block
        is on already, there is nothing to wait for.
    type: dict
    suboptions:
      seconds:
        description:
          - How long to wait at most.
        type: float
        default: 60
      quiet_seconds:
        description:
          - For how long nothing may be written.
        type: float
        default: 1
      policy:
        description:
          - What to do with writers that don't end. V(fail) ends the task, and names them.
            V(continue) names them in a warning.
        type: str
        choices: [fail, continue]
        default: fail
  probe_uri:
    description:
      - Connection string of an ordinary user, best that of the application. With O(state=on) and
        the write block on, this user tries an insert and an update in the collection
        C(_migrations_probe), which is removed again. The task fails unless the server refuses
        both with the code 371, C(UserWritesBlocked).
      - The TLS options apply to it too. The string and the password in it are kept out of all
        output.
    type: str
extends_documentation_fragment:
  - mongo_connection
  - mongo_run.change
attributes:
  check_mode:
    description: Says what it would do, and writes nothing to the database.
    support: full
    details: Checks privileges and the server's abilities as the real run does; makes no proof.
  diff_mode:
    description: Returns the state before and after.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
    details: Switching on what is on keeps since, by and reason. The proof is made again.
notes:
  - >-
    The user needs C(readWrite) on O(database), C(clusterMonitor) on C(admin), and for the write
    block the actions C(setUserWriteBlockMode) and C(bypassWriteBlockingMode) on the cluster. The
    built-in role C(restore) has both actions, but far more too. Rather make a role in mongosh with
    db.getSiblingDB("admin").createRole({role: "writeBlock", privileges: [{resource: {cluster:
    true}, actions: ["setUserWriteBlockMode", "bypassWriteBlockingMode"]}], roles: []}).
  - The application's user must not have C(bypassWriteBlockingMode). The built-in roles C(restore),
    C(root) and C(__system) contain it.
  - A connection without a login can't bypass the write block, so that it would stop the migration
    too. It is not switched there.
seealso:
  - module: mongo_migrate
  - name: setUserWriteBlockMode
    description: The server's command.
    link: https://www.mongodb.com/docs/manual/reference/command/setUserWriteBlockMode/
author: The migration playbooks' authors (@migration-playbooks)
"""

EXAMPLES = r"""
- name: Refuse writes, and prove it with the application's user
  mongo_maintenance:
    uri: "{{ mongo_uri }}"
    database: bizzai
    state: "on"
    reason: migration 004
    write_block: required
    applications: [app1, app2]
    drain:
      seconds: 120
      policy: fail
    probe_uri: "{{ vault_mongo_app_uri }}"
    change:
      ticket: CHG-1042

- name: Allow writes again
  mongo_maintenance:
    uri: "{{ mongo_uri }}"
    database: bizzai
    state: "off"
"""

RETURN = r"""
state:
  description: The state now, or in check mode the state that was asked for.
  returned: success
  type: str
  sample: "on"
write_block:
  description: Whether the server refuses the writes of ordinary users.
  returned: success
  type: bool
  sample: true
since:
  description: Since when the state has been so, on the server's clock.
  returned: success; null in check mode for a change
  type: raw
  sample: {"$date": "2026-11-23T02:04:58Z"}
by:
  description: Who switched it.
  returned: success
  type: dict
  sample: {user: a.rao, host: bastion}
reason:
  description: Why it was switched.
  returned: success; null without one
  type: str
  sample: migration 004
on_before:
  description: Whether it was on before this call.
  returned: success
  type: bool
  sample: false
switching:
  description: A switch that had begun and never ended, as this one found it.
  returned: success; null if there was none
  type: dict
  sample:
    to: "on"
    since: {"$date": "2026-11-23T02:04:58Z"}
    by: {user: a.rao, host: bastion}
    reason: migration 004
drain:
  description: How the waiting for other writers ended.
  returned: with O(state=on) and O(drain), unless the write block was on already; on failure too
  type: dict
  contains:
    drained:
      description: Whether nobody else wrote any more.
      returned: always
      type: bool
      sample: true
    waited_seconds:
      description: How long it took.
      returned: always
      type: float
      sample: 1.3
    writers:
      description: Who was still at work.
      returned: always
      type: list
      elements: str
      sample: ["worker (10.0.0.7:53422, app@admin): update in bizzai.items, running for 12 s"]
    collections:
      description: Where something was written at the end.
      returned: always
      type: list
      elements: str
      sample: [bizzai.items]
    unseen:
      description: Why the server doesn't show it; empty where it does.
      returned: always
      type: str
      sample: ""
proof:
  description: Whether writes of the ordinary user are refused.
  returned: with O(state=on) and O(probe_uri); on failure too
  type: dict
  contains:
    refused:
      description: Whether insert and update were both refused, because of the write block.
      returned: always
      type: bool
      sample: true
    code:
      description: The server's code.
      returned: always; null where no write was tried or refused
      type: int
      sample: 371
    how:
      description: What was tried, and what came of it.
      returned: always
      type: str
      sample: >-
        app@admin tried insert and update in bizzai._migrations_probe: both refused with 371
        UserWritesBlocked
warnings:
  description: What a person should look at. Ansible shows them too.
  returned: when there are any
  type: list
  elements: str
  sample: ["The write block holds for the whole deployment, also for: crm."]
diff:
  description: The state before and after.
  returned: in diff mode
  type: dict
  sample:
    before: {"on": false, write_block: false}
    after: {"on": true, write_block: true}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mongo_migration import module_runner
from ansible.module_utils.mongo_migration.argument_specs import (
    CHANGE_OPTIONS,
    CONNECTION_OPTIONS,
    CONNECTION_RULES,
)


def switch(client: Any, module: AnsibleModule) -> dict[str, Any]:
    from ansible.module_utils.mongo_migration.maintenance import drain
    from ansible.module_utils.mongo_migration.maintenance import switch as verbs
    from ansible.module_utils.mongo_migration.server import connection

    p = module.params
    request = verbs.Request(
        client=client,
        database=p["database"],
        reason=p["reason"],
        change=p["change"],
        operator=module_runner.operator(),
        write_block=p["write_block"],
        applications=p["applications"],
        check=module.check_mode,
    )
    if p["state"] == "on" and p["phase"] == "begin":
        result = verbs.prepare(request)
    elif p["state"] == "on":
        result = verbs.enter(
            request,
            drained=drain.Settings(**p["drain"]) if p["drain"] else None,
            probe=connection.connect_as(p, p["probe_uri"]) if p["probe_uri"] else None,
        )
    else:
        result = (verbs.reopen if p["phase"] == "begin" else verbs.leave)(request)
    diff = result.pop("diff")
    return {**result, "diff": diff} if module._diff else result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            **CHANGE_OPTIONS,
            "state": {"type": "str", "choices": ["on", "off"], "required": True},
            "reason": {"type": "str"},
            "write_block": {
                "type": "str",
                "choices": ["auto", "required", "never"],
                "default": "auto",
            },
            "applications": {"type": "list", "elements": "str", "default": []},
            "phase": {"type": "str", "choices": ["begin", "complete"], "default": "complete"},
            "drain": {
                "type": "dict",
                "options": {
                    "seconds": {"type": "float", "default": 60},
                    "quiet_seconds": {"type": "float", "default": 1},
                    "policy": {"type": "str", "choices": ["fail", "continue"], "default": "fail"},
                },
            },
            "probe_uri": {"type": "str", "no_log": True},
        },
        supports_check_mode=True,
        **CONNECTION_RULES,
    )
    module_runner.run(module, switch)


if __name__ == "__main__":
    main()
