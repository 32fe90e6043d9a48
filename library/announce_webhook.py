#!/usr/bin/python
"""Ansible module: post one message to a webhook."""

from __future__ import annotations

DOCUMENTATION = r"""
module: announce_webhook
short_description: Post a message to a webhook
version_added: "1.1.0"
description:
  - Posts one message as JSON, without following redirects, which could lead headers to another
    host.
  - A channel that answers 429 or 503 is asked again, after the time that its C(Retry-After) names,
    within a bound.
  - Doesn't fail where the channel can't be reached or refuses; the result says so.
options:
  url:
    description:
      - Where the message is posted to. It is a secret of most services, and kept out of all output.
    type: str
    required: true
  method:
    description: The method of the request.
    type: str
    default: POST
  headers:
    description: Headers of the request. They are kept out of all output.
    type: dict
    default: {}
  body:
    description: What is sent, as JSON.
    type: raw
    required: true
    aliases: [message]
  ca_certs:
    description: File with the certificates to trust instead of the system's.
    type: path
  timeout:
    description: Seconds that one answer may take.
    type: float
    default: 10
  patience:
    description: Seconds that waiting may take together, for a channel that asks for it.
    type: float
    default: 30
attributes:
  check_mode:
    description: Says what it would do, and sends nothing.
    support: full
  diff_mode:
    description: Returns what differs.
    support: none
  idempotent:
    description: A second run changes nothing.
    support: none
    details: Each run posts a message.
requirements:
  - a webhook
notes:
  - The user needs nothing but to reach O(url).
author: The migration playbooks' authors (@migration-playbooks)
"""

EXAMPLES = r"""
- name: Tell the team
  announce_webhook:
    url: "{{ vault_slack_webhook }}"
    body:
      text: Migration 004 begins
  delegate_to: localhost
"""

RETURN = r"""
status:
  description: The status of the last answer; null without one.
  returned: success
  type: int
  sample: 200
problem:
  description: Why the channel doesn't count as told; empty where it does.
  returned: success
  type: str
  sample: status 404
id:
  description: What the answer calls the thing that it made; empty where it doesn't.
  returned: success
  type: str
  sample: "4711"
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.release import webhook


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True, "no_log": True},
            "method": {"type": "str", "default": "POST"},
            "headers": {"type": "dict", "default": {}, "no_log": True},
            "body": {"type": "raw", "required": True, "aliases": ["message"]},
            "ca_certs": {"type": "path"},
            "timeout": {"type": "float", "default": 10},
            "patience": {"type": "float", "default": 30},
        },
        supports_check_mode=True,
    )
    p = module.params
    if module.check_mode:
        module.exit_json(changed=True, status=None, problem="", id="")
    posted = webhook.post(
        webhook.Message(
            url=p["url"],
            body=p["body"],
            method=p["method"].upper(),
            headers={name: str(value) for name, value in p["headers"].items()},
            ca_certs=p["ca_certs"] or "",
            timeout=p["timeout"],
            patience=p["patience"],
        )
    )
    module.exit_json(
        changed=not posted.problem, status=posted.status, problem=posted.problem, id=posted.id
    )


if __name__ == "__main__":
    main()
