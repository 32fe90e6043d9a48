"""A restore that ended halfway leaves some collections of the backup: nothing else may work then.

The restore keeps a document in ``_migrations`` from before its first replacement until after its
last. It stays when the process was killed, and goes when the same command has completed it.
"""

from __future__ import annotations

from typing import Any

from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo.database import Database

from ..document.collections import STATE
from ..errors import MigrationError
from ..support import commands
from . import own_collections, shapes, state_format

MARK = "restore"
REPLACING = "replacing"
# Whatever was planted there is no reason to end in a traceback.
_LENIENT: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_AUTO, unicode_decode_error_handler="replace"
)
_TEXTS = ("source", "safety_backup")
_FIELDS = dict.fromkeys(("archive", *_TEXTS), 1)


def read(database: Database[dict[str, Any]]) -> dict[str, Any] | None:
    """Return what was being restored, and the command that completes it; None if nothing was.

    Raises:
        StateError: what is there isn't what we write.
    """
    state = database.with_options(codec_options=_LENIENT)[STATE]
    found = state.find_one({"_id": MARK, "phase": REPLACING}, _FIELDS)
    if found is None:
        return None
    rules: shapes.Shape = {"archive": str, **dict.fromkeys(_TEXTS, shapes.optional(str))}
    place = f"{database.name}.{STATE}"
    state_format.checked(found, rules, place=place, what="the record of a restore")
    safety, archive = found.get("safety_backup"), found["archive"]
    source = found.get("source") or database.name
    # Not into the database that the archive is of.
    target = {"target_database": database.name} if source != database.name else {}
    return {
        "archive": archive,
        "next": commands.command("restore", archive=archive, **target),
        "safety_backup": safety,
    }


def refuse(database: Database[dict[str, Any]]) -> None:
    """Go no further on a half-restored database, or on records that can't be believed.

    Raises:
        MigrationError: a restore has begun to replace collections and didn't end.
        StateError: what holds our records isn't of the kind that we make.
    """
    own_collections.refuse_odd(database)
    found = read(database)
    if found is None:
        return
    raise MigrationError(
        f"A restore of {found['archive']} ended while it was replacing collections of "
        f"'{database.name}': some are of the backup, some are not, and nothing may build on that. "
        f"Complete it first (unless it is still at work: {commands.STATUS}). {_before(found)}"
        f"Next: {found['next']} (if nobody ever began one, somebody else wrote "
        f"{database.name}.{STATE} {{_id: '{MARK}'}}: look who may, and remove it.)",
        archive=found["archive"],
        next=found["next"],
    )


def _before(found: dict[str, Any]) -> str:
    if found["safety_backup"] is None:
        return ""
    return f"What was there before is in the safety backup {found['safety_backup']}. "
