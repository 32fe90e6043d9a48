"""What maintenance mode refuses."""

from __future__ import annotations

from ..errors import MigrationError


class MaintenanceError(MigrationError):
    """Maintenance mode can't be switched as asked, or doesn't keep writers out."""
