"""What `make init` writes holds names of the server: YAML and Ansible make nothing of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from authoring import inventory_files
from tests.support import hostile


class _Loader(yaml.SafeLoader):
    """Knows what Ansible takes as it is."""


class _AsItIs(str):
    __slots__ = ()


_Loader.add_constructor("!unsafe", lambda loader, node: _AsItIs(loader.construct_scalar(node)))


@pytest.mark.parametrize(
    "database",
    ["shop", "it's", "{{lookup('pipe','id')}}", "{%x%}", "{#x", "0x10", "null", hostile.EVERYTHING],
)
def test_a_database_is_called_what_the_server_calls_it(database: str, tmp_path: Path) -> None:
    (tmp_path / "inventories").mkdir()
    inventory = inventory_files.Inventory(
        name="shop",
        uri="mongodb://127.0.0.1",
        secret=False,
        database=database,
        mapping={"OrderItems": "order_items"},
        migrations=tmp_path / "migrations",
        seen="MongoDB",
    )
    inventory_files.write(inventory, tmp_path)

    found: dict[str, Any] = {}
    for path in (tmp_path / "inventories" / "shop" / "group_vars").rglob("*.yml"):
        found |= yaml.load(path.read_text(encoding="utf-8"), _Loader) or {}
    assert found["mongo_database"] == database
    assert isinstance(found["mongo_database"], _AsItIs) == ("{" in database)
