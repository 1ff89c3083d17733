"""Many writers, killed at random moments and started again, and readers beside them."""

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SEED = os.environ.get("C2O_DRILL_SEED", "20")


def storm(kind: str, place: Path) -> dict:
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    command = [sys.executable, str(HERE / "crash_storm.py"), kind, SEED, str(place)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"seed {SEED}: {done.stderr}"
    result = json.loads(done.stdout)
    assert result["faults"] == [], f"seed {SEED}: {done.stderr}"
    return result["counts"]


def test_eight_writers_killed_again_and_again_merge_to_the_bytes_of_one(tmp_path, record_property, capsys) -> None:
    counts = storm("merge", tmp_path)
    with capsys.disabled():
        print(f"\nkills: merge {counts['kills']} (seed {SEED})", end="")
    record_property("kills", counts["kills"])
    assert counts["kills"] >= 60 and counts["came to their end"] >= 8


def test_freezes_killed_again_and_again_leave_whole_bundles_and_one_history(tmp_path, record_property, capsys) -> None:
    counts = storm("freeze", tmp_path)
    with capsys.disabled():
        print(f"\nkills: freeze {counts['kills']} (seed {SEED})", end="")
    record_property("kills", counts["kills"])
    assert counts["kills"] >= 40


def test_a_reader_sees_whole_bundles_only_while_a_name_is_frozen_again_and_again(tmp_path) -> None:
    counts = storm("read", tmp_path)
    freezes = counts.pop("freezes")
    assert freezes >= 12 and sum(counts.values()) >= 40
    assert len(counts) == 2, "the reader met only one of the two contents"
