"""Run Ansible's own checks of collections, ``ansible-test sanity``, on ours.

They need a folder outside any checkout, since they look at what git knows, and environments of
their own, into which they put pip by a script from the network. The script is made here instead, of
the pip that PyPI has, so that a machine with nothing but a package index can run them.

python -m authoring.sanity validate-modules action-plugin-docs
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from . import collection

# Style is ruff's and mypy's, whose rules are narrower; imports of third-party libraries, which the
# test's environment doesn't have, are what `import` is about.
SKIPPED = ("import", "pep8", "pylint")
_GET_PIP = """\
import runpy, sys
sys.path.insert(0, {wheel!r})
given = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.argv = ["pip", "install", "--upgrade", "--force-reinstall", *given]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


def main(tests: Sequence[str]) -> int:
    """Build the collection in a folder of its own, and check it by *tests*, or by all."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    with tempfile.TemporaryDirectory(prefix="sanity-") as name:
        place = Path(name)
        folder = collection.build(place)
        home = place / "home"
        _provide_pip(home / ".ansible" / "test" / "cache", place)
        command = [str(Path(sys.executable).with_name("ansible-test")), "sanity", "--color", "no"]
        command += ["--python", version, "--requirements"]
        for test in tests:
            command += ["--test", test]
        for test in SKIPPED if not tests else ():
            command += ["--skip-test", test]
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
            "HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        environment.pop("PYTHONPATH", None)
        return subprocess.run(command, cwd=folder, env=environment, check=False).returncode


def _provide_pip(cache: Path, place: Path) -> None:
    """Put what ansible-test would download where it looks first."""
    cache.mkdir(parents=True)
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    download.append("--disable-pip-version-check")
    for version in _pips():
        subprocess.run(
            [*download, "--dest", str(place), f"pip=={version}"],
            check=True,
        )
        wheel = place / f"pip-{version}-py3-none-any.whl"
        script = cache / f"get_pip_{version.replace('.', '_')}.py"
        script.write_text(_GET_PIP.format(wheel=str(wheel)))


def _pips() -> set[str]:
    """Return the versions of pip that this ansible-test puts into environments."""
    source = resources.files("ansible_test._internal").joinpath("python_requirements.py")
    found = set(re.findall(r"pip='([0-9.]+)'", source.read_text()))
    if not found:
        raise LookupError("ansible-test no longer says which pip it wants")
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
