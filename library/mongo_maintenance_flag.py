#!/usr/bin/python
"""Ansible module: the maintenance flag that an application reads from a document."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mongo_maintenance_flag
short_description: Set or read the maintenance flag that an application keeps in a document
version_added: "1.0.0"
description:
  - Some applications read from their own database whether they are in maintenance mode. This module
    sets the one field of the one document that says so, and makes the document if there is none.
  - It is an ordinary write of the user that migrates, so it works behind the write block too.
options:
  collection:
    description:
      - The collection of the document.
    type: str
    required: true
  filter:
    description:
      - What finds the document, in MongoDB extended JSON. It must find at most one.
    type: dict
    required: true
  field:
    description:
      - The field, dots for a field within another.
    type: str
    required: true
  value:
    description:
      - What the field is to hold, in MongoDB extended JSON. Without it, the module only reads.
    type: raw
extends_documentation_fragment:
  - mongo_connection
attributes:
  check_mode:
    description: Says what it would do, and writes nothing to the database.
    support: full
  diff_mode:
    description: Returns the value before and after.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
notes:
  - The user needs C(readWrite) on O(database).
seealso:
  - module: mongo_maintenance
author: The migration playbooks' authors (@migration-playbooks)
"""

EXAMPLES = r"""
- name: Tell the application that maintenance begins
  mongo_maintenance_flag:
    uri: "{{ mongo_uri }}"
    database: bizzai
    collection: settings
    filter: {_id: maintenance}
    field: enabled
    value: true

- name: Read what the application is told
  mongo_maintenance_flag:
    uri: "{{ mongo_uri }}"
    database: bizzai
    collection: settings
    filter: {_id: maintenance}
    field: enabled
"""

RETURN = r"""
found:
  description: Whether the document was there.
  returned: success
  type: bool
  sample: true
value:
  description: What the field holds now, or would hold in check mode; null where there is none.
  returned: success
  type: raw
  sample: true
diff:
  description: The value before and after.
  returned: in diff mode
  type: dict
  sample:
    before: {enabled: false}
    after: {enabled: true}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mongo_migration import module_runner
from ansible.module_utils.mongo_migration.argument_specs import CONNECTION_OPTIONS, CONNECTION_RULES


def set_flag(client: Any, module: AnsibleModule) -> dict[str, Any]:
    from ansible.module_utils.mongo_migration.maintenance import flag_document

    p = module.params
    result = flag_document.set_field(
        client[p["database"]],
        collection=p["collection"],
        filter_=p["filter"],
        field=p["field"],
        value=p["value"],
        check=module.check_mode,
    )
    diff = result.pop("diff")
    return {**result, "diff": diff} if module._diff else result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            "collection": {"type": "str", "required": True},
            "filter": {"type": "dict", "required": True},
            "field": {"type": "str", "required": True},
            "value": {"type": "raw"},
        },
        supports_check_mode=True,
        **CONNECTION_RULES,
    )
    module_runner.run(module, set_flag)


if __name__ == "__main__":
    main()
