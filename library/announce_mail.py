#!/usr/bin/python
"""Ansible module: send one mail over the organization's mail server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: announce_mail
short_description: Send a mail over SMTP
version_added: "1.0.0"
description:
  - Hands one plain mail to a mail server, with Python's own library, and says whom it refused.
  - Fails where nobody will get the mail.
options:
  host:
    description: The mail server.
    type: str
    required: true
  port:
    description: Its port. The default is 587, or 465 with O(security=tls), or 25 with V(none).
    type: int
  security:
    description: V(starttls), V(tls) from the first byte on, or V(none) within a trusted network.
    type: str
    choices: [starttls, tls, none]
    default: starttls
  ca_certs:
    description: File with the certificates to trust instead of the system's.
    type: path
  user:
    description: For the login; none without it.
    type: str
  password:
    description: For the login.
    type: str
  sender:
    description: The address that it comes from.
    type: str
    required: true
  to:
    description: The addresses that it goes to.
    type: list
    elements: str
    required: true
  subject:
    description: The subject.
    type: str
    required: true
  body:
    description: The text.
    type: str
    required: true
  timeout:
    description: Seconds that the server may take to answer.
    type: float
    default: 10
  patience:
    description:
      - Seconds that waiting may take together, for a server that answers to try again later (a 4xx
        of SMTP).
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
    details: Each run sends a mail.
requirements:
  - a mail server
notes:
  - The user needs nothing but to reach O(host).
author: The migration playbooks' authors (@migration-playbooks)
"""

EXAMPLES = r"""
- name: Tell the team
  announce_mail:
    host: smtp.example.com
    user: migrations
    password: "{{ vault_smtp_password }}"
    sender: migrations@example.com
    to: [team@example.com]
    subject: Migration 004 begins on bizzai
    body: The application is read-only until it is done.
  delegate_to: localhost
"""

RETURN = r"""
to:
  description: Who gets the mail.
  returned: success
  type: list
  elements: str
  sample: [team@example.com]
refused:
  description: Addresses that the server refused, and its words.
  returned: success
  type: dict
  sample: {gone@example.com: 550 no such user}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mongo_migration.support import neutral
from ansible.module_utils.release import mail
from ansible.module_utils.release.errors import MailError

PORTS = {"starttls": 587, "tls": 465, "none": 25}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str", "required": True},
            "port": {"type": "int"},
            "security": {"type": "str", "choices": list(PORTS), "default": "starttls"},
            "ca_certs": {"type": "path"},
            "user": {"type": "str"},
            "password": {"type": "str", "no_log": True},
            "sender": {"type": "str", "required": True},
            "to": {"type": "list", "elements": "str", "required": True},
            "subject": {"type": "str", "required": True},
            "body": {"type": "str", "required": True},
            "timeout": {"type": "float", "default": 10},
            "patience": {"type": "float", "default": 30},
        },
        required_together=[("user", "password")],
        supports_check_mode=True,
    )
    p = module.params
    server = mail.Server(
        host=p["host"],
        port=p["port"] or PORTS[p["security"]],
        security=p["security"],
        user=p["user"] or "",
        password=p["password"] or "",
        ca_certs=p["ca_certs"] or "",
        timeout=p["timeout"],
        patience=p["patience"],
    )
    try:
        message = mail.compose(
            sender=p["sender"],
            to=p["to"],
            subject=neutral.mail_header(p["subject"]),
            body=neutral.terminal(p["body"]),
        )
        refused = {} if module.check_mode else mail.send(message, server)
    except (MailError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=True, to=[who for who in p["to"] if who not in refused], refused=refused
    )


if __name__ == "__main__":
    main()
