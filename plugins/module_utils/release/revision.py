"""Which code would run: the git revision of the project, its tags, and what isn't committed."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Revision:
    """The state of a git checkout.

    Args:
        commit: abbreviated; empty where there is no checkout.
        tags: that point at it.
        dirt: files that differ from it.
        problem: why git says nothing.
    """

    commit: str = ""
    tags: tuple[str, ...] = ()
    dirt: tuple[str, ...] = ()
    problem: str = ""

    def __str__(self) -> str:
        if not self.commit:
            return "no git checkout"
        tags = f" ({', '.join(self.tags)})" if self.tags else ""
        return f"{self.commit}{tags}{' with uncommitted changes' if self.dirt else ''}"


def read(project: Path) -> Revision:
    """Return the revision of *project*."""
    try:
        commit = _git(project, "rev-parse", "--short=12", "HEAD")
        dirt = _git(project, "status", "--porcelain").splitlines()
        tags = _git(project, "tag", "--points-at", "HEAD").split()
    except FileNotFoundError:
        return Revision(problem="git isn't installed")
    except OSError as error:
        return Revision(problem=f"git can't be run: {error.strerror}")
    except subprocess.CalledProcessError as error:
        return Revision(problem=error.stderr.strip().partition("\n")[0])
    return Revision(
        commit=commit.strip(), tags=tuple(tags), dirt=tuple(line[3:] for line in dirt if line)
    )


def _git(project: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(project), *arguments], capture_output=True, text=True, check=True
    ).stdout
