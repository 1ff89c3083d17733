"""What the room has made beside what the bundle has: every run, table row and checkpoint gets its verdict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from c2o_evidence.detections import Detections, read_detections
from c2o_evidence.errors import EvidenceError
from c2o_evidence.records import read_record
from c2o_evidence.suite import Tolerances
from c2o_evidence.tsv import read_tsv
from c2o_evidence.verify.records import checkpoint_path
from c2o_evidence.verify.replay.checkpoints import CheckpointVerdict, compare_checkpoints
from c2o_evidence.verify.replay.reasons import Reason, reasons, united
from c2o_evidence.verify.replay.result import ReplayResult, RunVerdict, TableVerdict
from c2o_evidence.verify.replay.room import Room
from c2o_evidence.verify.replay.source import Source
from c2o_evidence.verify.replay.verdicts import Judged, judge, judge_mean

RunKey = tuple[str, int]
Row = Mapping[str, Any]
NOT_REPLAYED = Judged("not-replayed")
# What a run is of; where one of these is another, the room has evaluated something else.
IDENTITY = ("config_sha256", "dataset_sha256", "sample_step")


class _Comparison:
    def __init__(self, source: Source, room: Room, level: str) -> None:
        self.source = source
        self.room = room
        self.suite = source.suite
        self.result = ReplayResult(level, source.suite.tolerances or Tolerances())
        self.training = level == "train"
        self._reasons: dict[tuple[str, int], tuple[Reason, ...]] = {}
        self._rows: dict[str, tuple[list[Row], list[Row]]] = {}  # exp_id -> rows of the bundle, rows made here

    def run(self) -> ReplayResult:
        if self.training:
            for experiment, seed in self.suite.train_jobs:
                self.result.checkpoints.append(self._checkpoint(experiment, seed))
        for experiment, seed in self.suite.eval_jobs:
            self.result.runs += self._runs(experiment, seed)
        if self.training:
            self.result.tables = [self._table(row.exp_id) for row in self.suite.rows]
        return self.result

    def _shown(self, path: Path) -> str:
        return path.relative_to(self.room.path).as_posix()

    def _checkpoint(self, experiment: str, seed: int) -> CheckpointVerdict:
        path = checkpoint_path(experiment, seed)
        made = self.room.results / path
        record = made.with_name("record.json")
        if not record.is_file():
            log = self._shown(self.room.log("train", experiment, seed))
            return CheckpointVerdict(path, "not-trained", log=log)
        verdict, keys = compare_checkpoints(self.source.root / path, made)
        own = reasons(read_record((self.source.root / path).with_name("record.json")), read_record(record), "train")
        parents = [p for p in vars(self.suite.experiment(experiment)).items() if p[0] in ("init", "teacher") and p[1]]
        above = [self._reasons.get((name, self.suite.seed_of(name, seed)), ()) for _, name in parents]
        self._reasons[experiment, seed] = united([*above, own])
        return CheckpointVerdict(path, verdict, keys, own)

    def _runs(self, experiment: str, seed: int) -> list[RunVerdict]:
        keys = [(row.exp_id, s) for row in self.suite.rows_of(experiment) for s in self.suite.eval_seeds]
        folder = Path("eval", experiment, f"seed{seed}")
        old, new = self.source.root / folder, self.room.results / folder
        if not (new / "record.json").is_file():
            log = self._shown(self.room.log("eval", experiment, seed))
            return [RunVerdict(e, experiment, seed, s, NOT_REPLAYED, log=log) for e, s in keys]
        why = reasons(read_record(old / "record.json"), read_record(new / "record.json"), "evaluate")
        why = united([self._reasons.get((experiment, seed), ()), why])
        tolerances = self.result.tolerances.train if self.training else self.result.tolerances.eval
        rows, found = [_rows(place) for place in (old, new)], [_detections(place) for place in (old, new)]
        verdicts = []
        for key in keys:
            bundle, here = rows[0][key], rows[1][key]
            self._check_identity(bundle, here, new)
            for side, row in zip(self._rows.setdefault(key[0], ([], [])), (bundle, here), strict=True):
                side.append(row)
            same = found[0][key] == found[1][key]
            judged = judge(bundle, here, tolerances, same_detections=same)
            verdicts.append(RunVerdict(key[0], experiment, seed, key[1], judged, same, why))
        return verdicts

    def _check_identity(self, bundle: Row, here: Row, place: Path) -> None:
        for column in (*IDENTITY, *(() if self.training else ("ckpt_sha256",))):
            if bundle[column] != here[column]:
                raise EvidenceError(
                    f"{place}: {column}: {here[column]} was evaluated instead of {bundle[column]}; "
                    f"something else writes to the room: delete {self.room.path} and type the command again"
                )

    def _table(self, exp_id: str) -> TableVerdict:
        runs = [run.judged.verdict for run in self.result.runs if run.exp_id == exp_id]
        if "not-replayed" in runs:
            return TableVerdict(exp_id, len(runs), NOT_REPLAYED)
        bit_exact = all(verdict == "bit-exact" for verdict in runs)
        judged = judge_mean(*self._rows[exp_id], self.result.tolerances.train_mean, bit_exact=bit_exact)
        return TableVerdict(exp_id, len(runs), judged)


def _rows(folder: Path) -> dict[RunKey, Row]:
    return {(row["exp_name"], row["eval_seed"]): row for row in read_tsv(folder / "results.tsv", "results")}


def _detections(folder: Path) -> dict[RunKey, Detections]:
    return read_detections(folder / "detections.safetensors")


def compare(source: Source, room: Room, level: str) -> ReplayResult:
    """The verdicts of level `eval` or `train`, after the workflow has run in the room.

    Raises:
        EvidenceError: a file that was made there cannot be read, or is of something else.
    """
    return _Comparison(source, room, level).run()
