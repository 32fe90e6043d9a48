"""A hostile company: whatever shape Ansible shows a text in, no terminal obeys it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.hostile import EVERYTHING, SCRIPT, harm
from tests.support.playbooks import run_playbook

SHOWING = """
- hosts: localhost
  gather_facts: false
  vars:
    text: !unsafe {text}
    vault_login: !unsafe 'p4ss "w{{{{rd'
    login_uri: !unsafe 'mongodb://u:other-p4ss@db/'
  tasks:
    - name: A text
      ansible.builtin.debug:
        msg: "{{{{ text }}}}"
    - name: Lines
      ansible.builtin.debug:
        msg: "{{{{ [text, 'x ' ~ text] }}}}"
    - name: Kept facts
      ansible.builtin.set_fact:
        again: "{{{{ {{'name': text}} }}}}"
    - name: Facts
      ansible.builtin.debug:
        msg: "kept {{{{ again.name }}}}"
    - name: A difference
      ansible.builtin.copy:
        content: "{{{{ text }}}}"
        dest: "{folder}/copy"
        mode: "0600"
    - name: Secrets
      ansible.builtin.command:
        argv: [echo, "{{{{ vault_login }}}}", "{{{{ vault_login | b64encode }}}}", other-p4ss]
    - name: Secrets in text
      ansible.builtin.debug:
        msg: "{{{{ [vault_login, vault_login | urlencode, vault_login | to_json, login_uri] }}}}"
    - name: Turns of a loop
      ansible.builtin.command: {{argv: ["true"]}}
      loop: ["{{{{ text }}}}"]
    - name: A warning
      ansible.builtin.debug:
        msg: "{{{{ lookup('ansible.builtin.file', '/nowhere/' ~ text[:20], errors='warn') }}}}"
    - name: A failure
      ansible.builtin.command: {{argv: [grep, -v, nothing, "{folder}/copy", "/nowhere"]}}
"""


@pytest.mark.parametrize("how", [[], ["-v"], ["-vvv"], ["callback"]], ids=str)
def test_whatever_ansible_shows_is_harmless(tmp_path: Path, how: list[str]):
    play = tmp_path / "play.yml"
    text = yaml.safe_dump(EVERYTHING, default_style='"', width=10_000).strip()
    play.write_text(SHOWING.format(text=text, folder=tmp_path))
    environment = {"ANSIBLE_DISPLAY_ARGS_TO_STDOUT": "true"}
    if how == ["callback"]:
        environment["ANSIBLE_STDOUT_CALLBACK"] = "default"
    options = [] if how == ["callback"] else how

    done = run_playbook([str(play), "--diff", *options], env=environment)

    shown = done.stdout + done.stderr
    assert "gone" in shown
    assert "A failure" in shown
    assert SCRIPT[:20] in shown
    assert not harm(shown)
    assert not Path("/tmp/owned").exists()
    for part in ("p4ss", "w{{rd", "cDRzcyAi"):
        assert part not in shown
