"""``update``: fields of documents are set, removed and renamed at any depth, and put back."""

from .images import Images
from .step import Update
from .whole_images import WholeImages

__all__ = ["Images", "Update", "WholeImages"]
