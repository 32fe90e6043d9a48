#!/usr/bin/python
"""Ansible module: watch a MongoDB deployment, once or again and again."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mongo_monitor
short_description: Watch a MongoDB deployment, its application and its collections
version_added: "1.0.0"
description:
  - Returns named numbers with their units, what is beyond its limit, and what to do then.
  - What the user may not see is a gap in RV(gaps), and no failure.
  - With O(samples=0) it goes on until it is stopped, for a screen that is refreshed (O(output)) or
    for the evidence of a migration (O(metrics_file)).
options:
  collections:
    description:
      - The inventory's names of collections, as for M(mongo_migrate). One that isn't there is a
        warning.
    type: dict
    default: {}
  applications:
    description:
      - Instances of the application to ask from where this module runs.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What the instance is called.
        type: str
        required: true
      url:
        description: The health request. Without it nothing is asked.
        type: str
      status:
        description: The codes that are well.
        type: list
        elements: int
        default: [200]
      timeout:
        description: Seconds until a request counts as failed.
        type: float
        default: 5.0
      log:
        description:
          - C(path) of a log and the regular expression C(pattern) whose matching lines are counted;
            with C(request_pattern), the lines that stand for a request are the throughput.
        type: dict
  application_results:
    description:
      - What M(mongo_monitor_app) has found on other hosts.
    type: list
    elements: dict
    default: []
  thresholds:
    description:
      - >-
        Limits in place of the defaults, V({replication_lag_seconds: {warn: 10, critical: 60}});
        V(null) in place of limits switches them off. docs/monitoring.md lists the metrics.
    type: dict
    default: {}
  long_operation_seconds:
    description:
      - From when on an operation is long.
    type: float
    default: 10.0
  interval:
    description:
      - Seconds from one look to the next. Rates are those between two looks.
    type: float
    default: 2.0
  samples:
    description:
      - How many observations to make; V(0) goes on until a signal, O(stop_file), O(max_seconds) or
        the end of O(parent_pid).
    type: int
    default: 1
  on_critical:
    description:
      - What happens to the run that is at work when two observations one after the other are
        critical for the database. V(pause) resumes it after three that aren't.
    type: str
    choices: [warn, pause, abort]
    default: warn
  metrics_file:
    description:
      - File that gets a line of JSON for each observation and source.
    type: path
  output:
    description:
      - File that is replaced with each observation, as JSON.
    type: path
  openmetrics_file:
    description:
      - File that is replaced with each observation, as OpenMetrics, for the textfile collector of
        node_exporter.
    type: path
  max_seconds:
    description:
      - The longest it may watch.
    type: float
  stop_file:
    description:
      - It ends when this file appears, and removes it.
    type: path
  parent_pid:
    description:
      - It ends with this process. The action plugin names C(ansible-playbook), where the module
        runs on the same machine.
    type: int
  probe_uri:
    description:
      - URI of an ordinary user of the application, who tries to write ten times a second while this
        runs. RV(writes) tells for how long that was refused.
    type: str
extends_documentation_fragment:
  - mongo_connection
attributes:
  check_mode:
    description: Says what it would do, and writes nothing to the database.
    support: full
    details: The module writes no data; with O(on_critical) it may steer a run, not in check mode.
  diff_mode:
    description: Returns what differs.
    support: N/A
  idempotent:
    description: A second run changes nothing.
    support: full
requirements:
  - prometheus_client, for O(openmetrics_file)
notes:
  - The user needs the role C(read) on O(database), C(dbAdmin) on it for indexes, disk and profiler,
    and C(clusterMonitor) on C(admin) for everything of the server. O(on_critical) needs
    C(readWrite) on O(database).
seealso:
  - module: mongo_monitor_app
  - module: mongo_migration_control
author: The migration playbooks' authors (@migration-playbooks)
"""

EXAMPLES = r"""
- name: Look at the deployment
  mongo_monitor:
    uri: "{{ mongo_uri }}"
    database: bizzai
    thresholds:
      replication_lag_seconds: {warn: 10, critical: 60}
  register: seen

- name: Sample until the stop file appears
  mongo_monitor:
    uri: "{{ mongo_uri }}"
    database: bizzai
    samples: 0
    on_critical: pause
    metrics_file: evidence/20261123-020500-migrate-004-db/metrics.jsonl
    stop_file: evidence/20261123-020500-migrate-004-db/.stop
    max_seconds: 14400
"""

RETURN = r"""
time:
  description: When the last observation was made.
  returned: success
  type: raw
  sample: {"$date": "2026-11-23T02:06:13Z"}
level:
  description: The worst of RV(findings); one of C(ok), C(warn), C(critical).
  returned: success
  type: str
  sample: warn
metrics:
  description: The numbers that could be seen, by name.
  returned: success
  type: dict
  sample: {replication_lag_seconds: 6.0, free_tickets_ratio: 0.94, documents: 20000}
units:
  description: The unit of each number; a ratio is between 0 and 1, a count has none.
  returned: success
  type: dict
  sample: {replication_lag_seconds: s, free_tickets_ratio: ratio, documents: ""}
findings:
  description: What is beyond its limit in the last observation, the worst first.
  returned: success
  type: list
  elements: dict
  sample:
    - metric: replication_lag_seconds
      level: warn
      value: 6.0
      limit: 5
      text: "replication lag, slowest member: 6 s (warn from at least 5 s on)"
      advice: control.yml -e do=pause lets the server catch up
worst:
  description: The worst finding of each metric over all observations.
  returned: success
  type: list
  elements: dict
  sample: []
gaps:
  description: What could not be seen, and why.
  returned: success
  type: list
  elements: str
  sample: ["server status: this user lacks the role clusterMonitor on admin"]
operations:
  description: The operations that are long, the longest first.
  returned: success
  type: list
  elements: dict
  sample:
    - {opid: "4711", op: query, namespace: bizzai.items, seconds: 31.2, user: app, client: api,
       waiting: false, plan: COLLSCAN, comment: ""}
slow_queries:
  description: The slowest queries that the profiler kept since the look before.
  returned: success
  type: list
  elements: dict
  sample: []
index_builds_at_work:
  description: The index builds with how far they are.
  returned: success
  type: list
  elements: dict
  sample: [{namespace: bizzai.items, what: scanning collection, done: 500, total: 1000, ratio: 0.5}]
busiest:
  description: The collections that the server spent most time on.
  returned: success
  type: list
  elements: dict
  sample: [{collection: items, reads_ms: 31.0, writes_ms: 512.4}]
collections:
  description: The collections of the database.
  returned: success
  type: list
  elements: dict
  sample: [{collection: items, documents: 5000, indexes: 3, unfinished: [], bytes: 1500000}]
applications:
  description: The instances of the application.
  returned: success
  type: list
  elements: dict
  sample: [{name: app1, response_ms: 4.1, error_ratio: 0.0, requests_per_second: 240.0}]
migration:
  description: How far the run is that is at work.
  returned: success; empty without one
  type: dict
  sample: {done: 12000, total: 18252}
server:
  description: Who answered, and the level of its profiler.
  returned: success
  type: dict
  sample: {host: "db1:27017", version: 6.0.5, profiler: 0}
database:
  description: The name of the database.
  returned: success
  type: str
  sample: bizzai
text:
  description: The last observation as lines of a table, for people.
  returned: success
  type: list
  elements: str
  sample: ["2026-11-23 02:06:13 UTC  bizzai on db1:27017, MongoDB 6.0.5  WARN"]
samples:
  description: How many observations were made.
  returned: success
  type: int
  sample: 1
actions:
  description: What O(on_critical) led to.
  returned: success
  type: list
  elements: str
  sample: []
writes:
  description: What became of the writes of O(probe_uri).
  returned: with O(probe_uri), not in check mode
  type: dict
  contains:
    tried:
      description: How many were accepted or refused by the write block.
      returned: always
      type: int
      sample: 812
    refused:
      description: How many were refused.
      returned: always
      type: int
      sample: 41
    seconds:
      description: For how long they were refused, all together.
      returned: always
      type: float
      sample: 4.1
    spans:
      description: Each time that they were, C(since) when and for how many C(seconds).
      returned: always
      type: list
      elements: dict
      sample: [{since: {"$date": "2026-11-23T02:06:13Z"}, seconds: 4.1}]
    problem:
      description: Why none was accepted nor refused; empty otherwise.
      returned: always
      type: str
      sample: ""
ended:
  description: Why it ended.
  returned: success
  type: str
  sample: all samples taken
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mongo_migration import module_runner
from ansible.module_utils.mongo_migration.argument_specs import (
    APPLICATION_OPTIONS,
    CONNECTION_OPTIONS,
    CONNECTION_RULES,
)

_SETTINGS = (
    *("interval", "long_operation_seconds", "thresholds", "metrics_file", "output"),
    *("openmetrics_file", "max_seconds", "stop_file", "parent_pid"),
)


def monitor(client: Any, module: AnsibleModule) -> dict[str, Any]:
    from ansible.module_utils.mongo_migration.monitor import loop, write_probe
    from ansible.module_utils.mongo_migration.server import connection
    from ansible.module_utils.mongo_migration.support import stop

    p = module.params
    probe = None
    if p["probe_uri"] and not module.check_mode:
        probe = write_probe.WriteProbe(connection.connect_as(p, p["probe_uri"]), p["database"])
    return loop.run(
        client,
        p["database"],
        loop.Settings(
            samples=p["samples"] or None,
            on_critical="warn" if module.check_mode else p["on_critical"],
            **{name: p[name] for name in _SETTINGS},
        ),
        collections=p["collections"],
        described=p["applications"],
        given=p["application_results"],
        stop=stop.listen(),
        probe=probe,
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            "collections": {"type": "dict", "default": {}},
            "applications": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"name": {"type": "str", "required": True}, **APPLICATION_OPTIONS},
            },
            "application_results": {"type": "list", "elements": "dict", "default": []},
            "thresholds": {"type": "dict", "default": {}},
            "long_operation_seconds": {"type": "float", "default": 10.0},
            "interval": {"type": "float", "default": 2.0},
            "samples": {"type": "int", "default": 1},
            "on_critical": {
                "type": "str",
                "choices": ["warn", "pause", "abort"],
                "default": "warn",
            },
            "metrics_file": {"type": "path"},
            "output": {"type": "path"},
            "openmetrics_file": {"type": "path"},
            "max_seconds": {"type": "float"},
            "stop_file": {"type": "path"},
            "parent_pid": {"type": "int"},
            "probe_uri": {"type": "str", "no_log": True},
        },
        supports_check_mode=True,
        **CONNECTION_RULES,
    )
    module_runner.run(module, monitor)


if __name__ == "__main__":
    main()
