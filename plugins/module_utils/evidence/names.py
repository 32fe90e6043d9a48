"""Names of the files that seal a folder."""

from __future__ import annotations

SEAL = "seal.json"
SIGNATURE = "seal.sig"
