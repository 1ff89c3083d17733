"""A gallery made by hand, in the form of the rule `gallery`: drawn scenes, a denoising, an attention graph."""

import hashlib
import json
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np

from c2o_evidence.detections import read_detections


def png(pixels: np.ndarray) -> bytes:
    """A PNG of [height, width, 3] bytes, with nothing but pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width, _ = pixels.shape
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")


def scene(image: dict, objects: list[dict]) -> np.ndarray:
    """A soft background with a disc or a square for each object, by its category."""
    rng = np.random.default_rng(image["id"])
    height, width = image["height"], image["width"]
    y, x = np.mgrid[0:height, 0:width]
    shade = 90 + 50 * np.sin(x / width * 3 + image["id"]) + 40 * (y / height)
    pixels = np.stack([shade, shade * 0.95, shade * 0.8], axis=-1) + rng.normal(0, 5, (height, width, 3))
    for item in objects:
        left, top, w, h = item["bbox"]
        inside = (x >= left) & (x < left + w) & (y >= top) & (y < top + h)
        if item["category_id"] % 2:
            inside &= ((x - left - w / 2) / (w / 2)) ** 2 + ((y - top - h / 2) / (h / 2)) ** 2 < 1
        pixels[inside] = np.array([60 + 37 * item["category_id"] % 150, 120, 40 * item["category_id"] % 200])
    return pixels.clip(0, 255).astype(np.uint8)


def write_gallery(base: Path, val: Path, rows: dict[str, str], seeds: tuple[int, int], count: int = 4) -> None:
    """`gallery/` below `base`, in the place of what is there.

    rows: exp_id -> experiment; of the first the denoising is shown, of the last the scene.
    """
    truth = json.loads(val.read_text())
    chosen = truth["images"][:count]
    folder = base / "gallery"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "images").mkdir(parents=True)
    images = []
    for number, image in enumerate(chosen):
        data = png(scene(image, [item for item in truth["annotations"] if item["image_id"] == image["id"]]))
        name = f"images/{number}.png"
        (folder / name).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        images.append(
            {"image_id": image["id"], "file": name, "width": image["width"], "height": image["height"],
             "sha256": digest, "source": image["file_name"], "source_sha256": digest}
        )  # fmt: skip
    teacher, student = list(rows)[0], list(rows)[-1]
    shown = chosen[0]
    document = {
        "format": 1,
        "rows": list(rows),
        "train_seed": seeds[0],
        "eval_seed": seeds[1],
        "images": images,
        "filmstrip": {"exp_id": teacher, "image_id": shown["id"], "steps": _steps(base, teacher, rows, seeds, shown)},
        "attention": _attention(base, student, rows, seeds, shown),
    }
    (folder / "gallery.json").write_text(json.dumps(document))


def _found(base: Path, exp_id: str, rows: dict[str, str], seeds: tuple[int, int], image: dict) -> tuple:
    path = base / "eval" / rows[exp_id] / f"seed{seeds[0]}" / "detections.safetensors"
    run = read_detections(path)[exp_id, seeds[1]]
    own = run.image_id == image["id"]
    boxes = run.box[own].clip(0, [image["width"], image["height"]] * 2)
    return boxes.astype(float), run.score[own].astype(float), run.label[own].tolist()


def _steps(base: Path, exp_id: str, rows: dict[str, str], seeds: tuple[int, int], image: dict, count: int = 8) -> list:
    boxes, scores, classes = _found(base, exp_id, rows, seeds, image)
    rng = np.random.default_rng(7)
    side = np.array([image["width"], image["height"]] * 2)
    noise = np.sort(rng.uniform(0, 1, (len(boxes), 2, 2)), axis=1).reshape(-1, 4) * side
    steps = []
    for number in range(1, count + 1):
        share = (number / count) ** 2
        now = (1 - share) * noise + share * boxes
        steps.append(
            {"step": number, "time": 999 - 999 * (number - 1) // count, "boxes": now.round(2).tolist(),
             "scores": (scores * (0.15 + 0.85 * share)).round(3).tolist(), "classes": classes}
        )  # fmt: skip
    return steps


def _attention(base: Path, exp_id: str, rows: dict[str, str], seeds: tuple[int, int], image: dict) -> dict:
    boxes, scores, classes = _found(base, exp_id, rows, seeds, image)
    rng = np.random.default_rng(9)
    edges = [
        [i, j, round(float(rng.uniform(0, 0.4)), 4)] for i in range(len(boxes)) for j in range(len(boxes)) if i != j
    ]
    edges.sort(key=lambda edge: -edge[2])
    return {"exp_id": exp_id, "image_id": image["id"], "stage": 3, "nodes": boxes.round(2).tolist(),
            "scores": scores.round(3).tolist(), "classes": classes, "edges": edges}  # fmt: skip
