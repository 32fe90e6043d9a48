"""A small database and a migration that leaves a journal entry of every registered kind."""

from __future__ import annotations

from typing import Any

from mongo_migration.document import definition
from mongo_migration.procedures import rollback, work
from pymongo.database import Database

from . import torture

Db = Database[dict[str, Any]]

DOCUMENT = """
id: "903"
name: menagerie
summary: A step of every kind.
downtime: required
steps:
  - create_collection: {name: made, indexes: [{keys: {a: 1}}]}
  - rename_collection: {from: old, to: renamed}
  - set_field:
      collections: [items]
      field: size
      type: int
      value: {value: 1}
  - update:
      collections: [items]
      set: {label: {expression: {$concat: [$name, "!"]}}}
      unset: [tail]
  - insert:
      into: roles
      key: [slug]
      documents: [{slug: admin}]
      referenced_by: {users: role}
  - insert_for_each:
      from: users
      into: homes
      key: [user]
      referenced_by: {}
      document: {user: $_id}
  - update: {collections: [cards], document: {expression: {_id: $_id, all: [$name]}}}
  - extract:
      from: people
      field: addresses
      into: addresses
      document: {$mergeObjects: [{user: $_id}, $$this]}
  - move: {from: [admins], into: accounts}
  - change_id:
      in: teams
      where: {_id: {$type: string}}
      id: {expression: {$concat: ["t-", $_id]}}
      referenced_by: {posts: team}
  - rebuild_collection: {name: customers, options: {collation: {locale: en, strength: 2}}}
  - merge_duplicates:
      in: tags
      by: [name]
      keep: oldest
      fields: {color: first}
      referenced_by: {posts: tag}
  - delete: {collections: [sessions], where: {old: true}}
  - command: {argv: ["true"], down: ["true"], timeout_seconds: 10, writes: [items]}
  - validate: {collections: [items], validator: {name: {$type: string}}}
  - create_index: {collections: [items], keys: {size: 1}}
  - replace_index: {collections: [posts], keys: {at: 1}, options: {expireAfterSeconds: 86400}}
  - hide_index: {collections: [posts], name: shown_1}
  - drop_index: {collections: [posts], name: spare_1}
  - drop_collection: {collections: [waste]}
"""
DEFINITION = definition.load(DOCUMENT, "903-menagerie.yml")


def fill(db: Db) -> None:
    """Fill an empty database; nobody's business but ours lies in ``bystanders``."""
    db["old"].insert_one({"_id": 1})
    db["items"].insert_many([{"_id": n, "name": f"item {n}", "tail": [n]} for n in range(8)])
    db["users"].insert_many([{"_id": n} for n in range(3)])
    db["roles"].insert_one({"_id": 0, "slug": "reader"})
    db["tags"].insert_many([{"_id": n, "name": f"tag {n % 2}"} for n in range(3)])
    db["tags"].insert_one({"_id": 3, "name": "tag 1", "color": "red"})
    db["posts"].insert_many([{"_id": n, "tag": n, "team": "red"} for n in range(4)])
    db["cards"].insert_many([{"_id": n, "name": f"card {n}"} for n in range(2)])
    db["people"].insert_many([{"_id": n, "addresses": [{"city": "Pune"}]} for n in range(2)])
    db["admins"].insert_one({"_id": 10, "login": "root"})
    db["accounts"].insert_one({"_id": 1, "login": "asha"})
    db["teams"].insert_one({"_id": "red", "name": "Red"})
    db["customers"].insert_one({"_id": 1, "name": "Asha"})
    db["sessions"].insert_many([{"_id": n, "old": n % 2 == 0} for n in range(4)])
    db["waste"].insert_one({"_id": 1})
    db["bystanders"].insert_many([{"_id": key, "size": 7} for key in (1, "k", 2.5)])
    for field in ("at", "shown", "spare"):
        db["posts"].create_index(field)


def migrate(db: Db, **more: Any) -> Any:
    """Migrate in this process."""
    return torture.migrate(db, definition=DEFINITION, batch_size=3, **more)


def roll_back(db: Db, **more: Any) -> Any:
    """Roll back in this process."""
    job = work.Job(settings=torture.settings(batch_size=3), **torture.common(db))
    return rollback.roll_back(job, DEFINITION.id, DEFINITION, **more)
