"""A Python that has only what the builder alone requires, for tests that it runs there.

No module is found that is installed and not part of those packages or of what they themselves
require; the project counts as not installed, and sockets do not connect.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from importlib import metadata
from pathlib import Path

#: What a machine with a GPU has to have for `neuron-atlas build --no-ingest`.
REQUIRED = ("torch", "transformers", "timm", "pyarrow", "numpy", "pillow", "click", "tqdm")

_SITECUSTOMIZE = '''
import sys, socket
from importlib import metadata
from importlib.machinery import PathFinder

ALLOWED = set({allowed!r})
SITE = {site!r}


class _BareFinder(PathFinder):
    """Find no installed module of other packages."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        spec = super().find_spec(name, path, target)
        places = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
        is_installed = any(p and p.startswith(tuple(SITE)) for p in places)
        return None if is_installed and name.partition(".")[0] not in ALLOWED else spec


def _no_network(*_):
    raise OSError("there is no network on a bare machine")


_version = metadata.version


def _hidden(name):
    if name == "neuron-atlas":
        raise metadata.PackageNotFoundError(name)
    return _version(name)


metadata.version = _hidden
sys.meta_path[:] = [_BareFinder if f is PathFinder else f for f in sys.meta_path]
socket.socket.connect = _no_network
'''


def _closure(packages: tuple[str, ...]) -> set[str]:
    """Give the packages and all that they require, extras left out, as they are installed."""
    found: set[str] = set()
    waiting = list(packages)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        waiting += [
            re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
            for requirement in requirements
            if "extra ==" not in requirement
        ]
    return found


def allowed_modules() -> set[str]:
    """Name the top-level modules of REQUIRED and of what they require."""
    packages = _closure(REQUIRED)
    return {
        module
        for module, owners in metadata.packages_distributions().items()
        if {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners} & packages
    }


def bare_python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python with `arguments` in `cwd`, where the project's folders are found."""
    site = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    text = _SITECUSTOMIZE.format(allowed=sorted(allowed_modules()), site=site)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sitecustomize.py").write_text(text)
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": folder, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
