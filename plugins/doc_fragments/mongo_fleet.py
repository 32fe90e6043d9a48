"""Documentation of the option that makes a module go through many databases."""

from __future__ import annotations


class ModuleDocFragment:
    """The options of ``mongo_migration.argument_specs.FLEET_OPTIONS``."""

    DOCUMENTATION = r"""
options:
  fleet:
    description:
      - Do it to each of many databases of the deployment, in processes of the module's own. Then
        O(database) only keeps the record of maintenance mode, and results are those of all
        databases together.
    type: dict
    suboptions:
      databases:
        description:
          - >-
            Which. A list of names; a pattern (a regular expression that begins with V(^), such as
            V(^tenant_)); or a query, V({from: control.tenants, take: database}), where C(from) is
            a database and a collection, C(take) the field that holds a name, and C(where) a filter
            of those that count.
          - Names have letters, digits, C(_) and C(-); others are refused.
        type: raw
        required: true
      only:
        description:
          - Those of them that this call is about; empty for all. Another name is an error.
        type: list
        elements: str
        default: []
      canary:
        description:
          - How many of them come first, or which by name; V(passed) when they were looked at, and
            the others follow. No other database is begun where one of them fails.
        type: raw
      canary_then:
        description:
          - What follows when the canaries are verified. V(stop) ends the call there.
        type: str
        choices: [stop, go]
        default: stop
      lanes:
        description:
          - On how many databases it works at the same time.
        type: int
        default: 2
      failures_allowed:
        description:
          - How many databases may need attention before no other one is begun.
        type: int
        default: 0
"""
