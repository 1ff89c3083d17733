"""Python and packages: are they there, do they work, are they the versions of the lock?"""

import re
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from c2o_evidence.doctor.report import Check
from c2o_evidence.limits import MAX_TEXT
from c2o_evidence.plain_file import read_plain

SECTION = "versions"
OLDEST, NEWEST = (3, 11), (3, 13)
TO_TRAIN = ("torch", "torchvision", "numpy", "pillow", "mlxtend", "safetensors", "pyyaml", "snakemake")
TO_REPORT = ("pycocotools", "scipy", "pandas", "jsonschema", "jinja2", "matplotlib", "rich", "rocrate")
SETUP = "run `make setup`"


def version_checks(root: Path, found: Mapping[str, Any]) -> list[Check]:
    """Python, each needed package against the lock of `root`, and whether torch and Detectron2 work."""
    locked = locked_versions(root / "requirements" / "lock.txt")
    checks = [python_check(tuple(sys.version_info[:3]))]
    checks += [package_check(name, installed_version(name), locked.get(name)) for name in TO_TRAIN + TO_REPORT]
    for name in ("torch", "torchvision"):
        if f"{name}_error" in found:
            checks.append(Check(SECTION, f"{name} works", False, found[f"{name}_error"], SETUP, needed=True))
    works = "detectron2" in found
    detail = found.get("detectron2") or found.get("detectron2_error") or "not asked, torch does not work"
    advice = "" if works else f"{SETUP}: it installs requirements/detectron2.txt"
    checks.append(Check(SECTION, "detectron2", works, str(detail), advice, needed=True))
    return checks


def python_check(version: tuple[int, ...]) -> Check:
    """Whether the lock has packages for this Python."""
    ok = OLDEST <= version[:2] <= NEWEST
    advice = "" if ok else "run `make setup PYTHON=/path/to/python3.11` (3.11 to 3.13)"
    return Check(SECTION, "Python", ok, ".".join(map(str, version)), advice, needed=True)


def package_check(name: str, installed: str | None, locked: str | None) -> Check:
    """A needed package: missing, of the lock's version, or of another one (last bits may change)."""
    if installed is None:
        return Check(SECTION, name, False, "not installed", SETUP, needed=True)
    if locked is None or installed.split("+")[0] == locked:
        return Check(SECTION, name, True, installed, needed=True)
    detail = f"{installed}, the lock has {locked}: last bits of results may differ"
    return Check(SECTION, name, True, detail, f"{SETUP} for the version of the lock", needed=True)


def locked_versions(path: Path) -> dict[str, str]:
    """`{name: version}` of a lock; empty when there is none (a package installed without its checkout)."""
    try:
        lines = read_plain(path, MAX_TEXT).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    pins = (line.split()[0].split("==", 1) for line in lines if re.match(r"\w\S*==\S", line))
    return {name.lower(): version for name, version in pins}


def installed_version(name: str) -> str | None:
    """Version of an installed distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
