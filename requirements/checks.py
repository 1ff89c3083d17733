"""What can be wrong before or during the set-up, and what the user is told to do about it.

Standard library only. Must start on an old Python too, to say that it is too old: no syntax newer than 3.7.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

OLDEST, NEWEST = (3, 11), (3, 13)
GB = 10**9
VENV_BYTES = 8 * GB  # 5.5 GB installed, and room for the downloads on their way in
TEMP_BYTES = 4 * GB  # pip keeps the wheels of its largest step there


class SetupError(Exception):
    """What went wrong and what to do, as the user reads it."""


def check_python(version: tuple[int, ...] | None = None) -> None:
    """Refuse a Python that the lock has no packages for."""
    version = version or tuple(sys.version_info[:3])
    if not OLDEST <= tuple(version[:2]) <= NEWEST:
        raise SetupError(
            f"Python {'.'.join(map(str, version))} ({sys.executable}) cannot be used: requirements/lock.txt "
            f"holds packages for Python {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}; install one "
            "of them (Debian, Ubuntu: apt-get install python3 python3-venv) and name it: "
            "make setup PYTHON=/path/to/python3"
        )


def check_platform(platform: str = sys.platform, has_ensurepip: bool | None = None) -> None:
    """Refuse a system that the lock is not for, and a Python that cannot make virtual environments."""
    if not platform.startswith("linux"):
        raise SetupError(
            f"platform {platform}: requirements/lock.txt is for Linux; use a Linux machine or container, "
            "or the conda environment of environment.yml"
        )
    if has_ensurepip is None:
        has_ensurepip = importlib.util.find_spec("ensurepip") is not None
    if not has_ensurepip:
        raise SetupError(
            f"{sys.executable}: has no `ensurepip`, so it cannot make a virtual environment; install it "
            "(Debian, Ubuntu: apt-get install python3-venv) or name another: "
            "make setup PYTHON=/path/to/python3"
        )


def check_disk(root: Path, temporary: Path | None = None, usage: Callable[[str], Any] = shutil.disk_usage) -> None:
    """Refuse to start downloads that will not fit: 8 GB beside the checkout, 4 GB where pip puts the wheels.

    ``temporary`` (default: the directory that TMPDIR names) counts only when it is on another file system.
    """
    temporary = temporary or Path(tempfile.gettempdir())
    places = [(root, VENV_BYTES, "free some space or clone to a larger disk")]
    if os.stat(str(temporary)).st_dev != os.stat(str(root)).st_dev:
        places.append((temporary, TEMP_BYTES, "free some space or set TMPDIR to a directory on a larger disk"))
    for place, need, advice in places:
        free = usage(str(place)).free
        if free < need:
            raise SetupError(
                f"{place}: {free / GB:.1f} GB free, but the set-up needs about {need / GB:.0f} GB there; "
                f"{advice}, then run `make setup` again"
            )


# In the order of what explains most: a wrong hash is never a network fault, a full disk may look like one.
FAULTS = (
    (
        r"DO NOT MATCH THE HASHES|[Hh]ashes are required",
        "a downloaded package is not the one recorded in requirements/ (hash mismatch), and was not "
        "installed; a proxy or an old cache may have kept another file: run `python3 -m pip cache purge`, "
        "then `make setup` again. If it stays, the package index in use serves other files than the public "
        "one: find out why, do not change the hash to fit",
    ),
    (
        r"No space left on device|Errno 28|Disk quota exceeded",
        "the disk (or the quota) is full; free about 8 GB beside the checkout and 4 GB in the temporary "
        "directory (TMPDIR), then run `make setup` again: it goes on where it stopped",
    ),
    (
        r"NewConnectionError|NameResolutionError|ConnectTimeoutError|ReadTimeoutError|name resolution|"
        r"Connection refused|Connection reset|Network is unreachable|Max retries exceeded|SSLError|"
        r"CERTIFICATE_VERIFY|ProxyError",
        "the package registry cannot be reached; check the network, the proxy (HTTPS_PROXY) and the index "
        "and certificate that pip is set to use (`python3 -m pip config list`), then run `make setup` again: "
        "what was installed is kept. Without a network, PIP_NO_INDEX=1 PIP_FIND_LINKS=DIRECTORY installs "
        "from files",
    ),
    (
        r"No matching distribution found|is not a supported wheel",
        "the package index in use does not have this version for this Python and machine; use the public "
        "registry, or another Python (3.11 is the one used most): make setup PYTHON=/path/to/python3.11",
    ),
    (
        r"Permission denied",
        "a file cannot be written; see that .venv and pip's cache belong to you, then run `make setup` again",
    ),
)


def explain(output: str) -> str:
    """What pip's output means for the user, with pip's own last words on it."""
    telling = re.compile(r"ERROR|Expected sha256|Got  |No space left")
    said = [line.strip() for line in output.splitlines() if telling.search(line)] or output.splitlines()
    quote = "\n".join(f"  pip: {line.strip()}" for line in said[-4:])
    for pattern, advice in FAULTS:
        if re.search(pattern, output):
            return f"{advice}.\n{quote}"
    return f"pip failed for a reason that is not known here; its last words:\n{quote}"
