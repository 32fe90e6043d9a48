"""The proof of one batch, in the snapshot of its own transaction.

With writers about, whole collections can't be compared; the documents of a batch can: all but the
written field must be, after the write, what it was before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from ...document import made_once
from ...document.value_sources import Found, Source
from ...errors import MigrationError
from ...ledger.batches import StaleBatchError
from ...values import compare
from ...values.digest import Digest
from ...values.raw import raw_documents
from ..statements import Group
from .candidates import Page


@dataclass(frozen=True, kw_only=True)
class BatchProof:
    """Compares the documents of a batch, without the written field.

    Args:
        collection: of the documents.
        field: that is written.
        ids: of the documents.
        comment: for the server's operations.
    """

    collection: Collection[dict[str, Any]]
    field: str
    ids: list[Any]
    comment: str

    def rest(self, session: ClientSession) -> Digest:
        """Return the digest of all but the field, as the transaction sees it."""
        return Digest.of(
            raw_documents(
                self.collection.database,
                self.collection.name,
                filter={"_id": {"$in": self.ids}},
                projection={self.field: 0},
                batch_size=len(self.ids) + 1,
                session=session,
                comment=self.comment,
            )
        )

    def refuse_other(self, before: Digest, session: ClientSession, *, read_ahead: bool) -> None:
        """Go no further if anything but the field has changed.

        Args:
            before: what :meth:`rest` was.
            session: of the transaction.
            read_ahead: it was read a while ago: then most likely somebody else has changed it.

        Raises:
            StaleBatchError: read the batch again.
            MigrationError: the batch itself did it.
        """
        if self.rest(session) == before:
            return
        if read_ahead:
            raise StaleBatchError
        raise MigrationError(
            f"{self.collection.name}: a batch changed more than {self.field}. It was not "
            "committed. This should be impossible; keep the evidence and tell the database admin."
        )

    def refuse_if_moved(self, page: Page, inputs: list[Any], session: ClientSession) -> None:
        """Go no further if a document has another key by now than the one that was read.

        Raises:
            StaleBatchError: its value was found for that one.
        """
        # Chance gives another value each time: what was read is what counts.
        places = [place for place, one in enumerate(inputs) if not made_once.varies(one)]
        if not places:
            return
        asked = [inputs[place] for place in places]
        tokens = dict(zip(map(compare.hashable, page.ids), page.tokens, strict=True))
        for row in self.collection.find(
            {"_id": {"$in": self.ids}}, {"key": asked}, session=session, comment=self.comment
        ):
            known = page.meaning(tokens[compare.hashable(row["_id"])])["key"]
            read = [known[place] for place in places]
            if not compare.same(row["key"], read):
                raise StaleBatchError


def refuse_if_found_otherwise(page: Page, groups: list[Group], source: Source) -> None:
    """Go no further if *source*, read in the batch's transaction, gives other values by now.

    The value was found a while ago, and what it was taken from may have changed since.

    Raises:
        StaleBatchError: a document of the batch would get another value.
    """
    values = {
        compare.hashable(identity): group["value"] for group in groups for identity in group["ids"]
    }
    wanted = {
        token: values[known]
        for identity, token in zip(page.ids, page.tokens, strict=True)
        if (known := compare.hashable(identity)) in values
    }
    keys = {token: page.meaning(token).get("key", []) for token in wanted}
    source.prepare(keys.values())
    for token, value in wanted.items():
        answer = source.resolve(keys[token])
        if not isinstance(answer, Found) or not compare.same(answer.value, value):
            raise StaleBatchError
