"""Errors that a person reads: which setting is wrong, and how it should look."""

from __future__ import annotations


class SettingError(Exception):
    """A setting of the inventory, or a value from the command line, can't be understood."""


class MailError(Exception):
    """A mail couldn't be handed to the mail server; the message says why, without secrets."""
