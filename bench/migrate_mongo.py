"""Our engine against migrate-mongo, which runs what its user writes in JavaScript.

    python -m bench.migrate_mongo --documents 50000

Two migrations as its users write them: one that looks up each document's owner and updates it, as
004 needs, and one statement that sets a constant. `make tools` fetches migrate-mongo.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import report
from bench.migration import BY_OWNER, DATABASE, FIELD, Bench, against, filled, timed
from embedded import tools

# Owners are looked up once each, as a careful author would.
BY_OWNER_JS = """
module.exports = {
  async up(db) {
    const organizations = new Map();
    for await (const user of db.collection('users').find()) {
      organizations.set(String(user._id), user.FIELD);
    }
    const items = db.collection('items');
    for await (const item of items.find({ FIELD: { $exists: false } })) {
      const value = organizations.get(String(item.createdBy));
      await items.updateOne({ _id: item._id }, { $set: { FIELD: value } });
    }
  },
  async down(db) {},
};
"""
CONSTANT_JS = """
module.exports = {
  async up(db) {
    const organization = await db.collection('organizations').findOne();
    await db.collection('items').updateMany(
      { FIELD: { $exists: false } }, { $set: { FIELD: organization._id } },
    );
  },
  async down(db) {},
};
"""


def project(folder: Path, uri: str, migration: str) -> Path:
    """Make a project of migrate-mongo with one migration; return its folder."""
    (folder / "migrations").mkdir(parents=True)
    config = {
        "mongodb": {"url": uri, "databaseName": DATABASE, "options": {}},
        "migrationsDir": "migrations",
        "changelogCollectionName": "changelog",
        "lockCollectionName": "changelog_lock",
        "lockTtl": 0,
        "migrationFileExtension": ".js",
        "useFileHash": False,
        "moduleSystem": "commonjs",
    }
    settings = f"module.exports = {json.dumps(config)};\n"
    (folder / "migrate-mongo-config.js").write_text(settings)
    text = migration.replace("FIELD", FIELD)
    (folder / "migrations" / "20261125000000-organization.js").write_text(text)
    return folder


def run(program: Path, folder: Path) -> None:
    """Run ``migrate-mongo up``."""
    done = subprocess.run([program, "up"], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"migrate-mongo failed: {done.stdout}{done.stderr}")


def ratio(bench: Bench, program: Path, folder: Path, value: str | None, rounds: int) -> list[float]:
    """Return theirs/ours of alternating rounds."""

    def theirs() -> float:
        seconds = timed(lambda: run(program, folder))
        left = bench.items.count_documents({FIELD: {"$exists": False}})
        if left:
            sys.exit(f"migrate-mongo left {left} documents")
        bench.database["changelog"].drop()
        bench.bare_unset()
        return seconds

    def ours() -> float:
        seconds = bench.engine(value)
        bench.undo()
        return seconds

    return against(theirs, ours, rounds)


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    program = tools.find("migrate-mongo")
    if program is None:
        print("migrate-mongo isn't here: `make tools` fetches it. Not measured.")
        return
    with filled(asked.documents, 1000) as (bench, uri), tempfile.TemporaryDirectory() as name:
        owners = project(Path(name) / "owners", uri, BY_OWNER_JS)
        constant = project(Path(name) / "constant", uri, CONSTANT_JS)
        results = [
            report.Result.of(
                "migrate-mongo, each owner / migrate",
                ratio(bench, program, owners, BY_OWNER, asked.rounds),
                at_least=5,
            ),
            report.Result.of(
                "migrate-mongo, one updateMany / migrate",
                ratio(bench, program, constant, None, asked.rounds),
            ),
        ]
    report.publish(
        "migrate-mongo", results, note=f"{asked.documents:,} documents, {asked.rounds} rounds"
    )


if __name__ == "__main__":
    main()
