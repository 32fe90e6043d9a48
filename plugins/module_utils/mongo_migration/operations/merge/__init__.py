"""``merge_duplicates``: of documents that should be one, one stays, and is what others name."""

from .merging import FIELDS_KIND
from .references import REPOINT_KIND
from .step import MergeDuplicates

__all__ = ["FIELDS_KIND", "REPOINT_KIND", "MergeDuplicates"]
