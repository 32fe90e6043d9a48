"""Every benchmark with little data, so that none rots: that they run, not how fast anything is.

    python -m bench.short

Nothing is held against a goal, and ``build/bench.json`` keeps what was measured in earnest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

from embedded.app import ROOT

SHORT = {
    "migration": ["--documents", "2000", "--organizations", "50", "--rounds", "1"],
    "language": ["--documents", "2000", "--organizations", "50", "--rounds", "1"],
    "gentle": ["--documents", "2000", "--organizations", "50", "--idle-seconds", "1"],
    "migrate_mongo": ["--documents", "1000", "--rounds", "1"],
    "scale": ["--sizes", "1000", "2000", "--organizations", "50", "100", "--rounds", "1"],
    "backup": ["--documents", "2000", "--rounds", "1"],
    "flow": ["--documents", "200", "--hosts", "1"],
}


def main() -> None:
    """Run them, one after the other; end with an error if one can't be run."""
    failed = []
    # They write to build/, of where they are run.
    with tempfile.TemporaryDirectory(prefix="bench-short-") as scratch:
        paths = [str(ROOT), str(ROOT / "plugins" / "module_utils")]
        for name, arguments in SHORT.items():
            began = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-m", f"bench.{name}", *arguments],
                cwd=scratch,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            outcome = "failed" if done.returncode else "runs"
            print(f"bench.{name}: {outcome}, {time.monotonic() - began:.0f} s", flush=True)
            if done.returncode:
                failed.append(name)
                print(done.stdout, flush=True)
    if failed:
        raise SystemExit(f"These benchmarks can't be run: {', '.join(failed)}")


if __name__ == "__main__":
    main()
