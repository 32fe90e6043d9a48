"""What says that a majority doesn't have a write yet, and what says something else."""

from __future__ import annotations

import pytest
from mongo_migration.support import majority, retry
from pymongo.errors import ExecutionTimeout, OperationFailure, PyMongoError, WriteConcernError

LATE = {"code": 50, "codeName": "MaxTimeMSExpired", "errmsg": "operation exceeded time limit"}


@pytest.mark.parametrize(
    ("error", "missing"),
    [
        # The command is done; its time was over while it waited for the others.
        (WriteConcernError("operation exceeded time limit", 50, LATE), True),
        (OperationFailure("late", 0, {"ok": 1, "writeConcernError": LATE}), True),
        (WriteConcernError("waiting for replication timed out", 64), True),
        # It isn't done.
        (ExecutionTimeout("operation exceeded time limit", 50, LATE), False),
        (OperationFailure("not authorized", 13), False),
    ],
)
def test_a_wait_that_was_cut_short_is_waited_for_again(error: PyMongoError, missing: bool) -> None:
    assert majority.is_missing(error) is missing
    assert retry.is_retryable(error) is missing
