"""Fail when what must run was skipped: `tests_ran.py RESULTS.xml …` reads pytest's JUnit files.

A skip is fine only for something that a plain machine does not have; each part of the project and the
end-to-end run must have passed tests. C2O_REQUIRE_SLURM and C2O_REQUIRE_BROWSER say that SLURM and a browser have been
installed: no skip for want of them.
"""

import os
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

MAY_SKIP = re.compile(
    r"CUDA|GPU|BCCD|SLURM|sbatch|browser|/dev/shm|file system|as root|by root|C\+\+ compiler", re.IGNORECASE
)
# Variable that says a thing has been installed -> a skip for want of it.
REQUIRED = {
    "C2O_REQUIRE_SLURM": re.compile(r"SLURM|sbatch", re.IGNORECASE),
    "C2O_REQUIRE_BROWSER": re.compile(r"browser", re.IGNORECASE),
}
MUST_PASS = (
    "tests.c2o_model",
    "tests.c2o_evidence",
    "tests.workflow",
    "tests.drills",
    "tests.slurm",
    "tests.browser",
    "tests.docs",
    "tests.test_environment",
    "tests.test_commands",
)


def faults(*results: Path) -> list[str]:
    """What is wrong with a test run, empty when nothing is."""
    cases = {path: list(ElementTree.parse(path).iter("testcase")) for path in results}
    bad = [f"{path}: no test ran" for path, found in cases.items() if not found]
    if bad:
        return bad
    passed = []
    for case in (case for found in cases.values() for case in found):
        name = f"{case.get('classname')}.{case.get('name')}"
        skip = case.find("skipped")
        if skip is None:
            passed.append(name)
            continue
        why = skip.get("message") or ""
        required = any(os.environ.get(name) and skip.search(why) for name, skip in REQUIRED.items())
        if required or not MAY_SKIP.search(why):
            bad.append(f"{name}: skipped, but it must run: {why}")
    bad += [f"{part}: no test passed" for part in MUST_PASS if not any(name.startswith(part) for name in passed)]
    return bad


def main() -> int:
    """Print the faults; exit status 0 when there are none."""
    found = faults(*map(Path, sys.argv[1:]))
    print("\n".join(found) or "all that must run has run")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
