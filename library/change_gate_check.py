#!/usr/bin/python
"""Ansible module: what a run has to show before it begins, told in one list."""

from __future__ import annotations

DOCUMENTATION = r"""
module: change_gate_check
short_description: Check ticket, people, code, calendar, rehearsal and checklist of a change
version_added: "1.0.0"
description:
  - Looks at everything that an inventory asks for, and returns all that is missing at once.
  - Never fails because of what is missing; look at RV(missing) and RV(to_confirm). Fails where a
    setting can't be understood.
  - Runs where ansible-playbook runs, with the project, its git checkout and the evidence, whatever
    host the task is for.
options:
  project:
    description: Folder of the project.
    type: path
    required: true
  database:
    description: The database that is to be changed.
    type: str
    required: true
  deployment:
    description: The inventory host that is to be changed.
    type: str
    required: true
  documents:
    description: Paths of the migration documents that are to be applied, if any.
    type: list
    elements: path
    default: []
  variables:
    description: Values for the variables that the documents declare, by the id of the migration.
    type: dict
    default: {}
  collections:
    description: Name of a collection in documents to its name in this deployment.
    type: dict
    default: {}
  operator:
    description: Who runs the command, as that person says; if left out, O(login).
    type: str
  login:
    description:
      - As whom that person is logged in; recorded, and no approver either.
      - In a task of a playbook, what is given here is replaced by what the system says.
    type: str
  approver:
    description: Who agreed to it.
    type: str
  approver_required:
    description:
      - Whether O(approver) must be there, and be someone else than O(operator) and O(login).
      - Accounts are compared, without domain, case, accents and characters that can't be seen.
    type: bool
    default: false
  way_out:
    description:
      - Whether this is a way out of trouble. Then people, ticket and code are recorded, whatever is
        missing of them is waived, and nothing else is looked at but O(confirm).
    type: bool
    default: false
  reason:
    description: Why it is done; recorded.
    type: str
  override:
    description:
      - Why this can't wait, in words. Lets the window, a freeze, a missing rehearsal, a missing
        notice and a missing approver pass, and nothing else; recorded.
    type: str
  ticket:
    description: The number of the change ticket.
    type: str
  ticket_required:
    description: Whether there must be one.
    type: bool
    default: false
  ticket_pattern:
    description: Regular expression that it must match.
    type: str
    default: ""
  ticket_system:
    description:
      - How the ticket system is asked; see C(docs/releases.md). If left out, it isn't.
    type: dict
    suboptions:
      url:
        description: Address of the change; C({ticket}) in it becomes the number.
        type: str
        required: true
      headers:
        description: Headers of the request, the login among them.
        type: dict
      expect:
        description:
          - What its JSON must hold, each with C(path), such as C(result[0].approval), and C(value),
            one or a list of which one must be there.
        type: list
        elements: dict
        required: true
      timeout:
        description: Seconds that it may take.
        type: float
        default: 10
      ca_certs:
        description: File with the certificates to trust instead of the system's.
        type: path
  clean_revision_required:
    description: Whether O(project) must be a git checkout without uncommitted changes.
    type: bool
    default: false
  tag_required:
    description: Whether a tag must point at the revision.
    type: bool
    default: false
  tag_pattern:
    description: Regular expression that one of the tags must match.
    type: str
    default: ""
  windows:
    description: When a change is allowed; none means always. See C(docs/releases.md).
    type: list
    elements: dict
    default: []
  freezes:
    description: When no change is allowed.
    type: list
    elements: dict
    default: []
  timezone:
    description: Of all times that don't name one.
    type: str
    default: UTC
  rehearsal:
    description:
      - Which rehearsal counts. V(copy) asks for one on a copy of the data of O(deployment), whose
        data too are no older than O(rehearsal_days); V(any) is content with three commands on
        another deployment, too.
    type: str
    choices: [any, copy]
    default: any
  rehearsal_days:
    description: How old a rehearsal of the same document may be; 0 asks for none.
    type: float
    default: 0
  rehearsal_evidence:
    description: Folder with the sealed evidence of the rehearsal.
    type: path
  rehearsal_deployments:
    description: Inventory hosts where a rehearsal counts; empty for all but O(deployment).
    type: list
    elements: str
    default: []
  rehearsal_databases:
    description: Names of databases in which a rehearsal counts; empty for that of O(database).
    type: list
    elements: str
    default: []
  public_key:
    description:
      - The public key of Ed25519 in PEM of the evidence. If it is set, evidence without its
        signature proves nothing.
    type: str
    default: ""
  rehearsal_public_key:
    description: The same for O(rehearsal_evidence), where another key signs there.
    type: str
    default: ""
  checklist:
    description: Items with C(id), C(text) and, where they are looked up, C(automatic).
    type: list
    elements: dict
    default: []
  confirmed:
    description: Ids of the items that the command confirms.
    type: list
    elements: str
    default: []
  typed:
    description: Ids of the items that a person confirmed in the terminal.
    type: list
    elements: str
    default: []
  notice_hours:
    description: How long before a run the team must have been told, for C(automatic=notice).
    type: float
    default: 24
  evidence:
    description: Folder with the evidence of this machine's runs.
    type: path
  maintenance_mode:
    description: The inventory's C(maintenance_mode).
    type: str
    default: auto
  confirmation_required:
    description: Whether O(confirm) must be there before anything changes.
    type: bool
    default: false
  record_in:
    description: Folder of the command's evidence, where RV(record) is written as C(gate.json).
    type: path
  record_required:
    description: Whether nothing may begin without that folder; otherwise it is a warning.
    type: bool
    default: true
  confirm:
    description: The name of the database as the command gives it; checked if it is there.
    type: str
attributes:
  check_mode:
    description: Says what it would do, and changes nothing.
    support: full
    details: The module never changes anything.
  diff_mode:
    description: Returns what differs.
    support: N/A
  idempotent:
    description: A second run changes nothing.
    support: full
requirements:
  - git, for the revision
notes:
  - The user needs to read O(project), O(evidence) and O(rehearsal_evidence).
author: The migration playbooks' authors (@migration-playbooks)
"""

EXAMPLES = r"""
- name: Check the change
  change_gate_check:
    project: /srv/migrations
    database: bizzai
    deployment: bizzai-production
    documents: [/srv/migrations/playbooks/migrations/004-add-organization-to-all-models.yml]
    operator: anna
    ticket: CHG0012345
    ticket_required: true
    ticket_pattern: "^CHG[0-9]{7}$"
    timezone: Asia/Kolkata
    windows:
      - {days: [sat], from: "22:00", to: "04:00"}
    rehearsal_days: 14
    rehearsal_evidence: /srv/evidence
"""

RETURN = r"""
missing:
  description: What is missing, each with its fix. Empty where the run may begin.
  returned: success
  type: list
  elements: str
  sample: ["ticket: there is none. This inventory requires one: pass -e ticket=..."]
to_confirm:
  description: Items of the checklist that only a person can confirm.
  returned: success
  type: list
  elements: dict
  sample: [{id: review, text: Review the migration document}]
unconfirmed:
  description: The same as sentences, each with its fix.
  returned: success
  type: list
  elements: str
  sample: ["checklist 'review': Review the migration document (not confirmed)"]
overridden:
  description: What O(override) lets pass.
  returned: success
  type: list
  elements: str
  sample: ["window: no change window is open (Mon 2026-11-23 20:45 Asia/Kolkata)"]
findings:
  description: Everything that was looked at.
  returned: success
  type: list
  elements: dict
  sample: [{check: ticket, state: ok, text: CHG0012345, fix: "", overridable: false}]
lines:
  description: The findings as lines of an aligned table, for people.
  returned: success
  type: list
  elements: str
  sample: ["ticket     ok  CHG0012345"]
change:
  description: What is recorded of the change, in the database and in the evidence.
  returned: success
  type: dict
  sample: {ticket: CHG0012345, operator: anna, approver: ravi, override: "", overridden: []}
passage:
  description: What later phases ask for before they change anything.
  returned: in a task of a playbook
  type: dict
  sample: {command: "4711@9182736", deployment: bizzai-production, passed: true, missing: []}
record:
  description:
    - What the evidence keeps, C(gate.json). RV(change), whether it passed, the settings, and which
      of them came by C(-e).
  returned: in a task of a playbook
  type: dict
  sample: {operator: anna, login: anna, passed: true, from_command_line: {ticket: CHG0012345}}
"""

from datetime import UTC, datetime

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.release import asking
from ansible.module_utils.release.errors import SettingError


def main() -> None:
    module = AnsibleModule(argument_spec=asking.ARGUMENTS, supports_check_mode=True)
    now = datetime.now(UTC)
    try:
        from ansible.module_utils.evidence import proof
        from ansible.module_utils.mongo_migration.document import definition
        from ansible.module_utils.mongo_migration.errors import DefinitionError
    except ImportError as error:
        module.fail_json(msg=missing_required_lib(str(error.name)))
    try:
        operator = module.params["operator"] or module.params["login"]
        settings = {**module.params, "operator": operator}
        verdict = asking.ask(settings, now=now, load=definition.load, prove=proof.problems)
    except (SettingError, DefinitionError, OSError, ValueError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **verdict.as_dict())


if __name__ == "__main__":
    main()
