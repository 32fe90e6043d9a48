"""What people who mean harm call their collections, fields, tickets and clients."""

from __future__ import annotations

import re

ESCAPES = "\x1b[2K\x1b[1A\x9b31mgone\x07\x08\x7f"
BIDI = "\u202egnp.exe\u2066\u200b\u00ad\u2060\ufeff\U000e0041"
TEMPLATE = "{{ lookup('pipe', 'touch /tmp/owned') }}{% raw %}{#"
SCRIPT = "<script>alert(1)</script>&\"'"
MENTIONS = "@channel <!here> [click](http://evil.example) `code` *bold* | pipe"
LINES = "x\n27 of 27 checks passed\r\nBcc: all@example.com\u2028\x85next"
EVERYTHING = f"{ESCAPES}{BIDI}{TEMPLATE}{SCRIPT}{MENTIONS}{LINES}"

# What must be on no terminal, but for line breaks and tabs. Ansible's colours are its own: the
# tests that look for this run without a terminal, where it uses none.
HARMFUL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\U000e0000-\U000e01ef]"
)


def harm(text: str) -> str:
    """Return the harmful characters of *text*, written out; empty if there are none."""
    return " ".join(f"U+{ord(character):04X}" for character in HARMFUL.findall(text))
