"""Many jobs, random kills: no device twice at any time, none lost, nobody left behind."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def overlaps(uses: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """Pairs of jobs whose times with one device, (from, to, job), have a moment in common."""
    ordered = sorted(uses)
    return [(a[2], b[2]) for a, b in zip(ordered, ordered[1:], strict=False) if b[0] < a[1]]


def test_the_check_sees_an_overlap() -> None:
    assert overlaps([(5, 9, 2), (0, 5, 1), (9, 12, 3)]) == []
    assert overlaps([(0, 5, 1), (4, 9, 2)]) == [(1, 2)]


@pytest.mark.parametrize("seed", [0, 1])
def test_fifty_jobs_and_random_kills(tmp_path: Path, seed: int) -> None:
    program = [
        sys.executable,
        str(Path(__file__).with_name("storm.py")),
        tmp_path / "leases",
        tmp_path / "log",
        str(seed),
    ]
    subprocess.run(program, check=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, timeout=120)
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    asked = {e["job"]: e["count"] for e in events if e["event"] == "starts"}
    has = {e["job"]: e for e in events if e["event"] == "has"}
    killed: dict[int, int] = {}
    for e in events:
        if e["event"] == "killed":
            killed.setdefault(e["job"], e["at"])
    ended = {e["job"]: e["at"] for e in events if e["event"] == "gives"}
    assert len(asked) == 50 and set(asked.values()) == {1, 2, 4}
    in_use = [job for job in killed if job in has and job not in ended]
    assert len(in_use) >= 3 and len(set(killed) - set(has)) >= 3, "the kills meet jobs that work and jobs that wait"

    uses: dict[str, list[tuple[int, int, int]]] = {f"fake-{i}": [] for i in range(4)}
    for job, event in has.items():
        assert len(set(event["devices"])) == asked[job]
        for device in event["devices"]:
            until = ended.get(job) or killed[job]
            uses[device].append((event["at"], max(until, event["at"]), job))
    assert {device: overlaps(found) for device, found in uses.items()} == {device: [] for device in uses}
    assert all(uses.values())

    assert set(asked) - set(killed) <= set(has), "whoever was not killed had its turn"
    assert events[-1]["event"] == "all" and events[-1]["waited"] is False, "all four are free at once"
