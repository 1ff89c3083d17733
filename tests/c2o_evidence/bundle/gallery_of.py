"""A gallery for the made-up results of conftest: two grey pictures, a denoising that ends in the stored detections."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from c2o_evidence.detections import read_detections
from c2o_evidence.digests import sha256_file
from c2o_evidence.suite import Suite

IMAGE_IDS = (2, 5)  # of 1 to 6: the middle ones of two halves


def shortest(values: np.ndarray) -> list:
    """float32 as numbers that come back bit by bit."""
    return [shortest(row) if row.ndim else float(str(row)) for row in values]


def seen(base: Path, suite: Suite, exp_id: str) -> tuple[list, list, list]:
    """Boxes, scores and classes of a row in the first picture, first seeds."""
    path = base / "eval" / suite.row(exp_id).experiment / "seed0" / "detections.safetensors"
    run = read_detections(path)[exp_id, 0]
    mine = run.image_id == IMAGE_IDS[0]
    return shortest(run.box[mine]), shortest(run.score[mine]), run.label[mine].tolist()


def write_gallery(base: Path, suite: Suite) -> dict[str, Path]:
    """The files of `base/gallery` but the record, by name."""
    folder = base / "gallery"
    (folder / "images").mkdir(parents=True)
    pictures = []
    for number, image_id in enumerate(IMAGE_IDS):
        path = folder / "images" / f"{number}.png"
        Image.new("RGB", (64, 64), (40 * number,) * 3).save(path)
        digest = sha256_file(path)
        pictures.append(
            {"image_id": image_id, "file": f"images/{number}.png", "width": 64, "height": 64, "sha256": digest,
             "source": f"{image_id}.png", "source_sha256": digest}
        )  # fmt: skip
    boxes, scores, classes = seen(base, suite, "base_4")
    steps = [
        {"step": n, "time": 1000 - 250 * n, "boxes": boxes[:n] if n < 4 else boxes,
         "scores": scores[:n] if n < 4 else scores, "classes": classes[:n] if n < 4 else classes}
        for n in range(1, 5)
    ]  # fmt: skip
    nodes, worth, labels = seen(base, suite, "student_1")
    document = {
        "format": 1, "rows": ["base_4", "student_1"], "train_seed": 0, "eval_seed": 0, "images": pictures,
        "filmstrip": {"exp_id": "base_4", "image_id": IMAGE_IDS[0], "steps": steps},
        "attention": {"exp_id": "student_1", "image_id": IMAGE_IDS[0], "stage": 3, "nodes": nodes, "scores": worth,
                      "classes": labels, "edges": [[0, 1, 0.25], [1, 0, 0.125]]},
    }  # fmt: skip
    (folder / "gallery.json").write_text(json.dumps(document) + "\n")
    return {
        "gallery": folder / "gallery.json",
        "images.0": folder / "images/0.png",
        "images.1": folder / "images/1.png",
    }
