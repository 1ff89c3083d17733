"""Many writers at once, killed (SIGKILL) at random moments and started again, while a reader looks.

`python crash_storm.py merge|freeze|read SEED DIRECTORY` prints what was counted and what was wrong as JSON. Writers are
forked from this process, so that a kill costs no start of Python.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crash_operations import EVAL, manifest, write_bundle, write_runs

from c2o_evidence.freeze import freeze
from c2o_evidence.ledger import read_rows
from c2o_evidence.manifest import merge_results_manifest, read_results_manifest, results_rows
from c2o_evidence.verify import verify

WRITERS = 8
SEEDS = 24
MERGE_KILLS, FREEZE_KILLS = 64, 40
NAMES = ("one", "two")
LOOKS, FREEZES = 40, 12


def fork(work: Callable[[], object]) -> int:
    """The process that does some work: it ends with status 0, or with 1 and a traceback."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    return pid


class Storm:
    """Writers that are killed and begin again, until so many were killed; then they may come to their end."""

    def __init__(self, works: list[Callable[[], object]], chance: random.Random, look: Callable[[str], None]) -> None:
        self.works = works
        self.chance = chance
        self.look = look
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []

    def run(self, kills: int, pause_s: float) -> None:
        alive = {fork(work): work for work in self.works}
        while self.counts["kills"] < kills:
            time.sleep(self.chance.uniform(0, pause_s))
            pid = self.chance.choice(sorted(alive))
            os.kill(pid, signal.SIGKILL)
            work = alive.pop(pid)
            self._ended(pid)
            self.look(f"after kill {self.counts['kills']}")
            alive[fork(work)] = work
        for pid in alive:
            self._ended(pid)
        self.look("at the end")

    def _ended(self, pid: int) -> None:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self.counts["kills"] += code == -signal.SIGKILL
        self.counts["came to their end"] += code == 0
        if code not in (0, -signal.SIGKILL):
            self.faults.append(f"a writer ended with {code}")


def merge(chance: random.Random, root: Path) -> dict[str, Any]:
    """Writer w merges the rows of seeds w, w + 1, …: each row has several writers, no two the same order."""
    rows = {seed: write_runs(root, seed, 40.0 + seed) for seed in range(SEEDS)}
    merge_results_manifest(root / "manifests/expected.tsv", [row for some in rows.values() for row in some])
    seen: set[str] = set()

    def work(first: int) -> None:
        for number in range(SEEDS // 2):
            seed = (first * 3 + number) % SEEDS
            tsv = root / EVAL.format(seed) / "results.tsv"
            merge_results_manifest(manifest(root), results_rows(tsv, root / "results/toy", root))

    def look(when: str) -> None:
        found = [row["tsv_path"] for row in read_results_manifest(manifest(root))]
        if lost := seen - set(found):
            storm.faults.append(f"{when}: lost {sorted(lost)}")
        if len(found) != len(set(found)):
            storm.faults.append(f"{when}: doubled rows")
        seen.update(found)
        if len(left := list(manifest(root).parent.glob(".*.tmp"))) > 1:  # of the holder of the lock, or of the last one
            storm.faults.append(f"{when}: {len(left)} temporary files")

    storm = Storm([lambda first=first: work(first) for first in range(WRITERS)], chance, look)
    storm.run(MERGE_KILLS, 0.02)
    if manifest(root).read_bytes() != (root / "manifests/expected.tsv").read_bytes():
        storm.faults.append("the manifest is not that of a single writer")
    started = time.monotonic()
    merge_results_manifest(manifest(root), write_runs(root, SEEDS, 1.0), timeout=5)
    if time.monotonic() - started > 5 or list(manifest(root).parent.glob(".*.tmp")):
        storm.faults.append("something is left of the killed writers")
    return {"counts": storm.counts, "faults": storm.faults}


def bundles(root: Path) -> dict[str, Path]:
    found = {}
    for text in ("old", "new"):
        found[text] = root / "results" / text
        write_bundle(found[text], text)
        for number in range(20):
            (found[text] / f"file{number}").write_text(text * 1000)
        write_bundle_sums(found[text])
    return found


def write_bundle_sums(folder: Path) -> None:
    from c2o_evidence.bundle import write_sha256sums

    write_sha256sums(folder)


def freeze_storm(chance: random.Random, root: Path) -> dict[str, Any]:
    """Four processes freeze two contents under two names in one ledger, again and again."""
    content = bundles(root)
    for name in NAMES:
        freeze(content["old"], root / "deliverables" / name)

    def work(name: str, text: str) -> None:
        for _ in range(3):
            freeze(content[text], root / "deliverables" / name, allow_refreeze=True)

    def look(when: str) -> None:
        for name in NAMES:
            report = verify(root / "deliverables" / name, jobs=1)
            if not report.kinds().keys() <= {"stale"}:
                storm.faults.append(f"{when}: {name}: {[str(finding) for finding in report.findings][:3]}")

    works = [lambda name=name, text=text: work(name, text) for name in NAMES for text in ("old", "new")]
    storm = Storm(works, chance, look)
    storm.run(FREEZE_KILLS, 0.1)
    for name in NAMES:
        freeze(content["new"], root / "deliverables" / name, allow_refreeze=True)
        if not verify(root / "deliverables" / name).ok:
            storm.faults.append(f"{name} does not verify")
        mine = [row for row in read_rows(root / "manifests/deliverables.tsv") if row["name"] == name]
        if [row["revision"] for row in mine] != list(range(1, len(mine) + 1)):
            storm.faults.append(f"{name}: revisions {[row['revision'] for row in mine]}")
    left = sorted(path.name for path in (root / "deliverables").iterdir())
    if left != sorted(NAMES):
        storm.faults.append(f"left behind: {left}")
    return {"counts": storm.counts, "faults": storm.faults}


def read(chance: random.Random, root: Path) -> dict[str, Any]:
    """Nobody is killed: whatever a reader meets while a name is frozen time and again, it verifies."""
    content, target = bundles(root), root / "deliverables/one"
    freeze(content["old"], target)
    counts: Counter[str] = Counter()
    faults: list[str] = []

    def work() -> None:
        for number in range(FREEZES * 10):
            freeze(content[("new", "old")[number % 2]], target, allow_refreeze=True)
            time.sleep(chance.uniform(0, 0.1))  # a reader who never gets a turn gives up

    pid, freezes = fork(work), 0
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        report = verify(target, jobs=1)
        counts[report.root_digest] += 1
        faults += [str(finding) for finding in report.findings]
        freezes = read_rows(root / "manifests/deliverables.tsv")[-1]["revision"] - 1
        if freezes >= FREEZES and sum(counts.values()) >= LOOKS:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            break
    counts["freezes"] = freezes
    return {"counts": counts, "faults": faults}


def main() -> None:
    kind, seed, root = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    works = {"merge": merge, "freeze": freeze_storm, "read": read}
    print(json.dumps(works[kind](random.Random(f"{seed} {kind}"), root)))


if __name__ == "__main__":
    main()
