"""``update``: fields of documents are set, removed and renamed at any depth, and put back."""

from .images import Images
from .step import Update

__all__ = ["Images", "Update"]
