"""Running the model on pictures: a process with torch in it gets the task, and tells line by line what it has done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

from c2o_evidence.errors import EvidenceError
from c2o_evidence.outputs import check_output
from c2o_evidence.predict.model import Model, find_model
from c2o_evidence.predict.pictures import Picture, find_pictures, key_of, place
from c2o_evidence.printable import printable

NEEDED = ("torch", "detectron2")  # to be found, not imported
RESULTS = "detections.json"
SOME_FAILED = 3  # status of the process where a picture could not be read
DEFAULT_OUTPUT = Path("predictions")


@dataclass(frozen=True)
class Asked:
    """What `predict` and `watch` are told alike.

    named, config, data: as `find_model` takes them; steps: None for those of the row; seed: of the noise; score: the
    lowest that is drawn.
    """

    named: str
    steps: int | None
    seed: int
    score: float
    config: Path | None = None
    data: Path | None = None

    def model(self, root: Path) -> Model:
        """Raises as `find_model`."""
        return find_model(self.named, root, self.config, self.data)


def predict(typed: Sequence[Path], asked: Asked, root: Path, output: Path | None) -> int:
    """`c2o predict`: 0 if every picture is done, 1 if one could not be read; the rest of them is done all the same.

    Raises:
        EvidenceError: a picture, checkpoint or configuration is not there, or cannot be used; or `output` is evidence.
    """
    model, folder = asked.model(root), output or DEFAULT_OUTPUT
    if folder.exists() and not folder.is_dir():
        raise EvidenceError(f"--output {folder}: is a file; name a directory, which is made if it is not there")
    check_output(folder, root)
    pictures = place(find_pictures(typed), folder, model.data.pictures)
    folder.mkdir(parents=True, exist_ok=True)
    asked = replace(asked, steps=asked.steps or model.steps)
    done, failed = _tell(model, pictures, asked, folder / RESULTS)
    if done:
        print(f"{done} of {len(pictures)} drawn in {folder}; all detections, as COCO results: {folder / RESULTS}")
    return 1 if failed else 0


def watch(picture: Path, asked: Asked, root: Path, output: Path | None) -> int:
    """`c2o watch`: the denoising of one picture as a GIF. Returns and raises as `predict`."""
    model = asked.model(root)
    if picture.is_dir():
        raise EvidenceError(f"{picture}: is a directory; name one picture")
    target = output or Path(f"{picture.stem}.gif")
    if target.suffix.lower() != ".gif":
        raise EvidenceError(f"-o {target}: is not a .gif; name one")
    if target.resolve() == picture.resolve():
        raise EvidenceError(f"-o {target}: is the picture itself; choose another name")
    check_output(target, root)
    (found,) = find_pictures([picture])
    pictures = [Picture(found, *key_of(found, model.data.pictures), target)]
    target.parent.mkdir(parents=True, exist_ok=True)
    done, failed = _tell(model, pictures, asked, None)
    if done:
        print(f"{target}: {asked.steps} frames, one a step; grey: the boxes that a step starts from")
    return 1 if failed else 0


def _run(model: Model, pictures: Sequence[Picture], asked: Asked, results: Path | None) -> Iterator[dict[str, Any]]:
    """What the process tells, line by line. Raises EvidenceError if it cannot work."""
    if lacking := [name for name in NEEDED if find_spec(name) is None]:
        what = "use the environment of a checkout: `make setup`, then `.venv/bin/c2o …`"
        raise EvidenceError(f"{', '.join(lacking)} cannot be found; {what}")
    task = {
        "checkpoint": str(model.checkpoint),
        "config": str(model.config),
        "steps": asked.steps,
        "seed": asked.seed,
        "opts": dict(model.opts),
        "pictures": [
            {"path": str(one.path), "image_id": one.image_id, "known": one.known, "output": str(one.output)}
            for one in pictures
        ],
        "classes": list(model.data.classes),
        "category_ids": list(model.data.category_ids),
        "score": asked.score,
        "results": None if results is None else str(results),
    }
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said, _started(said) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(task))
            process.stdin.close()
        except BrokenPipeError:
            pass  # it has ended, and says why
        for line in process.stdout:
            try:
                told = json.loads(line)
            except ValueError as error:  # a library prints where it should not
                raise EvidenceError(f"the model's process said {line[:200].strip()!r}, which is no answer") from error
            if "fatal" in told:
                raise EvidenceError(str(told["fatal"]))
            yield told
        if process.wait() == -signal.SIGKILL:
            raise EvidenceError("the model's process was killed, for memory most likely; make the picture smaller")
        if process.returncode not in (0, SOME_FAILED):
            raise EvidenceError(f"the model's process ended with status {process.returncode}: {_last(said)}")


@contextmanager
def _started(said: TextIO) -> Iterator[subprocess.Popen[str]]:
    """The process, without a shell; it ends with this one."""
    paths = [str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "c2o_model.predict"],  # -P: nothing is imported from where the user is
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        encoding="utf-8",
        bufsize=1,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _last(said: TextIO) -> str:
    said.seek(0)
    lines = said.read().strip().splitlines()
    return printable(lines[-1]) if lines else "no word"


def _tell(model: Model, pictures: Sequence[Picture], asked: Asked, results: Path | None) -> tuple[int, int]:
    """Run, and print what is done, as it is done; how many are, and how many failed."""
    done = failed = 0
    with _progress(len(pictures)) as step:
        for line in _run(model, pictures, asked, results):
            if "loaded" in line:
                steps = line["steps"]
                print(f"{model.title}: {steps} step{'s' if steps > 1 else ''}, noise of seed {asked.seed}")
                for note in line["notes"]:
                    print(note)
                continue
            if "error" in line:
                failed += 1
                print(f"c2o: {printable(line['error'])}", file=sys.stderr)
            else:
                done += 1
                print(_outcome(line, asked.score))
            step()
    return done, failed


def _outcome(line: dict[str, Any], score: float) -> str:
    text = f"{printable(line['output'])}: {line['shown']} drawn of {line['found']} detections"
    if not line["shown"] and line["best"] is not None:
        text += (
            f"; none has a score of {score:g}, the best has {line['best']:.2f}: try --score {line['best'] * 0.8:.2f}"
        )
    return text


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    """A bar on a terminal, nothing else elsewhere: each picture has its own line."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("loading the model", total=total)

        def step() -> None:
            bar.update(task, advance=1, description="detecting")

        yield step
