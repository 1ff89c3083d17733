"""TensorBoard event files: of a training while it runs, of trainings and evaluations from their records.

Each run has a directory. Whoever writes there writes all of the run: a resumed training begins a new event file with
the rows that its state has and has readers forget the older one, so no point is there twice. TensorBoard's scalars are
float32.

Nothing here may harm a job: `LiveEvents` and `show_place` never raise; what went wrong is a line in the log.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from c2o_evidence.trackers.runs import TrackedRun, Values, read_run

FOLDER = "tensorboard"
PATTERN = "events.out.tfevents.*"


class EventFile:
    """The event file of one run, in place of an older one there. Each call is on disk when it returns."""

    def __init__(self, directory: Path, goes_on: bool = False) -> None:
        """`goes_on`: the older file is of this very run and stays, empty of meaning: a TensorBoard that reads it would
        not find the new one if it were gone.
        """
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event = Event
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"events.out.tfevents.{time.time_ns()}.c2o"
        self._stream: BinaryIO = path.open("wb")
        self._writer = RecordWriter(self._stream)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        # What an older file said is forgotten.
        self._write(Event(wall_time=time.time(), step=0, session_log=SessionLog(status=SessionLog.START)))
        older = sorted(old for old in directory.glob(PATTERN) if old != path)
        for old in older[:-1] if goes_on else older:
            old.unlink(missing_ok=True)

    def scalars(self, step: int, values: Values, wall_time: float | None = None) -> None:
        """Numbers of one step, by name. What is not finite is left out."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        found = [Summary.Value(tag=name, simple_value=value) for name, value in values.items() if math.isfinite(value)]
        if found:
            now = time.time() if wall_time is None else wall_time
            self._write(self._event(wall_time=now, step=step, summary=Summary(value=found)))

    def parameters(self, name: str, params: Mapping[str, Any], started: float) -> None:
        """The parameters of this run, for the HParams page; its metrics are the scalars of the run."""
        from google.protobuf.struct_pb2 import Value
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

        info = SessionStartInfo(group_name=name, start_time_secs=started)
        for key, value in params.items():
            info.hparams[key].CopyFrom(_value(Value, value))
        content = HParamsPluginData(session_start_info=info, version=0).SerializeToString()
        plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=content)
        value = Summary.Value(tag="_hparams_/session_start_info", metadata=SummaryMetadata(plugin_data=plugin))
        self._write(self._event(wall_time=started, summary=Summary(value=[value])))

    def close(self) -> None:
        """No more will come."""
        self._stream.close()

    def _write(self, event: Any) -> None:
        self._writer.write(event.SerializeToString())
        self._stream.flush()


def write_run(run: TrackedRun, folder: Path) -> Path:
    """The event file of a run below `folder`; its directory. Raises OSError, ImportError."""
    directory = folder / run.place
    events = EventFile(directory)
    try:
        if run.params:
            events.parameters(run.name, run.params, run.started)
        for step, values in run.points:
            events.scalars(step, values, run.ended)
        events.scalars(0, run.final, run.ended)
    finally:
        events.close()
    return directory


def show_place(base: Path, place: str) -> None:
    """Write the event file of a job that has just left its record below `base` (`results/SUITE`). Never raises."""
    with _harmless(f"{base / FOLDER / place}"):
        write_run(read_run(base, base.name, place), base / FOLDER)


class LiveEvents:
    """The event file of a running training, which follows the rows that it leaves. No method raises.

    Args:
        directory: of the event file.
        rows: `curve.jsonl` in the state of the training.
    """

    def __init__(self, directory: Path, rows: Path, tell: Callable[[str], None] = print) -> None:
        self.directory, self.rows, self.tell = directory, rows, tell
        self._events: EventFile | None = None
        self._place = 0  # bytes of `rows` that were read
        self._step = 0  # of the last point
        self._off = False

    def begin(self, name: str, params: Mapping[str, Any]) -> None:
        """Begin the file, with the parameters of the training; `name` is what the HParams page lists it as."""
        with _harmless(str(self.directory), self.tell, self._give_up):
            self._events = EventFile(self.directory, goes_on=self.rows.is_file() and self.rows.stat().st_size > 0)
            self._events.parameters(name, params, time.time())

    def follow(self) -> None:
        """Add the rows that are new."""
        if not self._off:
            with _harmless(str(self.directory), self.tell, self._give_up):
                self._add(self._new_rows())

    def finish(self, curve: Iterable[Mapping[str, Any]]) -> None:
        """Add what is missing of the whole curve, and end the file."""
        if not self._off:
            with _harmless(str(self.directory), self.tell, self._give_up):
                self._add(curve)
                if self._events is not None:
                    self._events.close()

    def _new_rows(self) -> Iterator[Mapping[str, Any]]:
        if self.rows.is_file():
            with self.rows.open("rb") as stream:
                stream.seek(self._place)
                whole = stream.read().rpartition(b"\n")[0]  # a line that is being written waits
            self._place += len(whole) + 1 if whole else 0
            yield from (json.loads(line) for line in whole.splitlines())

    def _add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            if self._events is not None and row["iteration"] > self._step:
                self._step = row["iteration"]
                self._events.scalars(self._step, {k: v for k, v in row.items() if k != "iteration" and v is not None})

    def _give_up(self) -> None:
        self._off, self._events = True, None


@contextmanager
def _harmless(
    what: str, tell: Callable[[str], None] = print, then: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """A display is not worth a job: whatever a tracker's package, the disk or a file has, the job goes on."""
    try:
        yield
    except Exception as error:  # also what an optional package raises when it is half there
        tell(f"{what}: no TensorBoard events from here on ({type(error).__name__}: {error})")
        then()


def _value(kind: Any, value: Any) -> Any:
    if isinstance(value, bool):
        return kind(bool_value=value)
    if isinstance(value, (int, float)) and math.isfinite(value):
        return kind(number_value=float(value))
    return kind(string_value=value if isinstance(value, str) else json.dumps(value))
