"""Detections in pictures of one's own: ``python -m c2o_model.predict`` with a task, as JSON, on its standard input.

`c2o predict` and `c2o watch` start it. A task names a checkpoint with its configuration, how to sample, and pictures
with the numbers that key their noise; see :class:`Task`. A line of JSON on standard output tells of each picture that
is done or has failed. The file is no part of any result: what evaluation detects does not depend on it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2o_model.determinism import pin_environment, set_deterministic
from c2o_model.lifeline import end_with_parent

if TYPE_CHECKING:
    from PIL import Image

    from c2o_model.gallery.draw import Drawn
    from c2o_model.sampling.detections import Detections

SOME_FAILED = 3  # a status that Python itself does not end with


@dataclass(frozen=True)
class Task:
    """What to do.

    config: the checkpoint's configuration. steps: None for the configuration's own. opts: test-time keys. pictures:
    each with `path`, `image_id`, `known` (whether it is one of the data set) and `output`, the PNG or GIF to write.
    classes: names and category_ids of labels 0, 1, …; empty where nobody knows. results: where the COCO results go,
    None for a GIF. score: the least that is drawn.
    """

    checkpoint: str
    config: str
    steps: int | None
    seed: int
    opts: Mapping[str, Any]
    pictures: Sequence[Mapping[str, Any]]
    classes: Sequence[str]
    category_ids: Sequence[int]
    score: float
    results: str | None


def main() -> int:
    """Do the task; 0 if every picture is done, SOME_FAILED if not. What stops all of them is one line, and 2."""
    end_with_parent("c2o")
    pin_environment()
    task = Task(**json.load(sys.stdin))
    set_deterministic()
    try:
        failed = [line for line in run(task) if _say(line) and "error" in line]
    except Exception as error:
        if not type(error).__module__.startswith("c2o_model."):  # such messages are written for the user
            raise
        _say({"fatal": str(error)})
        return 2
    return SOME_FAILED if failed else 0


def _say(line: Mapping[str, Any]) -> bool:
    print(json.dumps(line), flush=True)
    return True


def run(task: Task) -> Iterator[dict[str, Any]]:
    """Do the task; yields a line for the model and for each picture."""
    import torch

    from c2o_model.config import load_config, typed_config
    from c2o_model.data.errors import DataError
    from c2o_model.evaluation.run import EvalRow, load_detector
    from c2o_model.gallery.build import watch_batch
    from c2o_model.gallery.foreign import as_batch, open_picture

    cfg, notes = load_config(task.config), []
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        cfg.defrost()
        cfg.MODEL.DEVICE = "cpu"
        cfg.freeze()
        notes.append("no GPU here: it runs on the processor")
    steps = task.steps or typed_config(cfg).sampler.sample_step
    detector = load_detector(cfg, Path(task.checkpoint))
    detector.settings = EvalRow("", steps, tuple(task.opts.items())).settings(cfg)
    yield {"loaded": task.checkpoint, "steps": steps, "notes": notes}
    results: list[dict[str, Any]] = []
    done = False
    for picture in task.pictures:
        path, output = Path(picture["path"]), Path(picture["output"])
        try:
            image = open_picture(path)
        except DataError as error:
            yield {"path": str(path), "error": str(error)}
            continue
        shorter, longest = cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST
        batch = as_batch(image, picture["image_id"], shorter, longest, cap=not picture["known"])
        watched = watch_batch(detector, batch, [task.seed], cfg.TEST.DETECTIONS_PER_IMAGE)
        found = [
            _of_file(batch, one) for one in (watched.frames(0, 0) if task.results is None else watched.detections[0])
        ]
        if task.results is None:
            noisy = [batch.to_original(0, step.noisy[0]).tolist() for step in watched.steps]
            _animate(task, image, found, noisy, [step.time for step in watched.steps], output)
        else:
            _drawn_picture(task, image, found[-1]).save(output, "PNG")
            results += coco_results(task, picture["image_id"], found[-1], str(path))
        scores = found[-1].scores
        shown, best = int((scores >= task.score).sum()), float(scores.max()) if len(scores) else None
        done = True
        yield {"path": str(path), "output": str(output), "shown": shown, "found": len(scores), "best": best}
    if task.results is not None and done:  # also without a detection: a file of before would not be of these pictures
        Path(task.results).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _of_file(batch: Any, found: Detections) -> Detections:
    from dataclasses import replace

    return replace(found, boxes=batch.to_original(0, found.boxes))


def coco_results(task: Task, image_id: int, found: Detections, path: str) -> list[dict[str, Any]]:
    """COCO results (cocodataset.org/#format-results), with the file's name beside: all detections."""
    from c2o_model.gallery.build import shortest

    rows = []
    boxes, scores = found.boxes.cpu().numpy(), found.scores.cpu().numpy()
    for box, score, label in zip(boxes, scores, found.labels.tolist(), strict=True):
        x1, y1, x2, y2 = map(shortest, box)
        category = task.category_ids[label] if label < len(task.category_ids) else label
        rows.append(
            {"image_id": image_id, "category_id": category, "bbox": [x1, y1, x2 - x1, y2 - y1],
             "score": shortest(score), "file_name": Path(path).name}
        )  # fmt: skip
    return rows


def _shown(task: Task, found: Detections) -> list[Drawn]:
    """What is drawn of the detections, the best last."""
    from c2o_model.gallery.draw import Drawn

    drawn = []
    for box, score, label in zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True):
        if score >= task.score:
            name = task.classes[label] if label < len(task.classes) else str(label)
            drawn.append(Drawn(box, f"{name}: {score:.2f}", label))
    return drawn[::-1]


def _drawn_picture(task: Task, image: Image.Image, found: Detections) -> Image.Image:
    from c2o_model.gallery.draw import draw

    return draw(image, _shown(task, found))


def _animate(
    task: Task,
    image: Image.Image,
    found: Sequence[Detections],
    noisy: Sequence[Sequence[Sequence[float]]],
    times: Sequence[int],
    output: Path,
) -> None:
    """One frame a step: grey the boxes that the step starts from, in colour what would be detected after it."""
    from c2o_model.gallery.draw import caption, draw, write_gif

    frames = []
    for number, (one, boxes, time) in enumerate(zip(found, noisy, times, strict=True), 1):
        text = f"step {number} of {len(found)}, t = {time}"
        frames.append(caption(draw(image, _shown(task, one), boxes), text))
    write_gif(frames, output)


if __name__ == "__main__":
    sys.exit(main())
