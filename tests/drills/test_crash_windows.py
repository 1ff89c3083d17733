"""Killed, out of disk or with a failing disk at any change of the file system: the old or the new, never half."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
SEED = int(os.environ.get("C2O_DRILL_SEED", "20"))  # of the second kill, which meets the repetition at a random change
# Operation and the changes of the file system that it must at least make: a drill that meets fewer looks at nothing.
OPERATIONS = {
    "atomic": {"create": 2, "write": 1, "cut": 1, "fsync": 2, "replace": 1},
    "sidecar": {"create": 2, "write": 1, "cut": 1, "fsync": 2, "replace": 1},
    "evaluation": {"write": 3, "cut": 3, "fsync": 6, "replace": 3},
    "merge": {"create": 3, "write": 1, "cut": 1, "fsync": 2, "replace": 1},
    "ledger": {"write": 1, "cut": 1, "fsync": 2, "replace": 1},
    "first freeze": {"write": 4, "cut": 4, "fchmod": 3, "fsync": 8, "rename": 1},
    "freeze": {"write": 4, "cut": 4, "fchmod": 3, "fsync": 8, "replace": 1, "exchange": 1, "rmdir": 2},
    "freeze without exchange": {"write": 4, "cut": 4, "fchmod": 3, "fsync": 8, "replace": 1, "rename": 2},
    "stage": {"write": 5, "cut": 5, "exchange": 1, "rmdir": 2},
    "store keep": {"write": 5, "cut": 5, "fsync": 6, "rename": 1},
    "store keep over damaged": {"write": 5, "cut": 5, "fsync": 6, "exchange": 1},
    "store take": {"write": 4, "cut": 4, "fsync": 8, "replace": 4},
}


@pytest.fixture(scope="module")
def drilled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """What the drill of each operation has found, by name."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    # In memory where there is a place for it: the thousands of fsync are counted, not waited for.
    memory = Path("/dev/shm")
    base = memory if os.access(memory, os.W_OK) else tmp_path_factory.mktemp("windows")
    with tempfile.TemporaryDirectory(prefix="c2o-windows-", dir=base) as place:
        command = [sys.executable, str(HERE / "crash_windows.py"), str(SEED), place]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    return {result["operation"]: result for result in results}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_reader_finds_the_old_or_the_new_and_the_repetition_gives_the_same_bytes(
    drilled, name: str, record_property, capsys
) -> None:
    result = drilled[name]
    counts = result["counts"]
    with capsys.disabled():
        print(f"\n{name}: {result['windows']} windows, {counts} (seed {SEED})", end="")
    record_property("windows", result["windows"])
    record_property("kills", counts["kills"])
    assert result["faults"] == []
    assert counts["kills"] >= result["windows"] and counts["io_error"] == result["windows"] and counts["full"] > 0
    assert {what: count for what, count in OPERATIONS[name].items() if result["steps"].get(what, 0) < count} == {}


def test_the_drill_finds_a_careless_writer(drilled) -> None:
    """`write_text` truncates the file, writes, syncs nothing and lets errors through."""
    faults = "\n".join(drilled["careless"]["faults"])
    assert "file took" not in faults  # it takes no place: it writes where readers look
    assert "a reader finds \n" in faults or "a reader finds n\n" in faults
    assert "not said what is wrong: Traceback" in faults
    assert set(drilled) == {*OPERATIONS, "careless"}, "an operation is drilled that nobody looks at"
