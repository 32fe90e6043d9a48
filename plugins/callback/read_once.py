"""Callback plugin: a play's ``vars_files`` are read once, instead of once for each task."""

from __future__ import annotations

DOCUMENTATION = r"""
name: read_once
type: notification
short_description: Reads the vars_files of a play once
version_added: "1.1.0"
description:
  - Ansible reads and parses every file of C(vars_files) again for each task, unless the file is
    encrypted. For C(vars/wiring.yml) that took more of the controller's time than all else that
    it does, also while writers were stopped.
  - Ansible takes a file from its cache where it is there, so it is put there when a play starts.
    Releases of ansible-core that don't look there aren't faster, and no different.
author: The migration playbooks' authors (@migration-playbooks)
"""

import inspect
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    """Puts the files where Ansible looks first."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "read_once"

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Read the play's files as Ansible does for each of its tasks."""
        loader = play.get_loader()
        how: dict[str, Any] = {"cache": "all", "unsafe": True}
        if "trusted_as_template" in inspect.signature(loader.load_from_file).parameters:
            how["trusted_as_template"] = True
        for name in play.get_vars_files():
            if not isinstance(name, str) or "{{" in name:
                continue
            try:
                found = loader.path_dwim_relative_stack(play.get_search_path(), "vars", name)
                loader.load_from_file(found, **how)
            except AnsibleError:
                continue  # Ansible itself says so, at the first task
