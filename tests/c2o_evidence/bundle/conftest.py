"""A whole small set of results: 2 train seeds x 2 eval seeds, real digests, detections, tables; and the bundle of it.

Built once a session; each test that changes something works on a copy.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from c2o_evidence import figures
from c2o_evidence.bundle import stage_bundle, write_sha256sums
from c2o_evidence.code import code_digest, code_files
from c2o_evidence.detections import Detections, write_detections
from c2o_evidence.digests import sha256_file, write_sidecar
from c2o_evidence.figures import write_figures
from c2o_evidence.freeze import freeze
from c2o_evidence.hardware import fingerprint
from c2o_evidence.metrics import GroundTruth
from c2o_evidence.records import write_record
from c2o_evidence.suite import Suite, load_suite
from c2o_evidence.tables import write_manifest, write_tables
from c2o_evidence.tsv import tsv_schema, write_tsv
from tests.c2o_evidence.bundle.gallery_of import write_gallery

ROOT = Path(__file__).resolve().parents[3]
CLASSES = ("cat", "dog")
DATA = "data/toy/manifest.json"
STARTED = "2024-01-31T12:00:00Z"
FILES = {
    "Snakefile": "",
    "requirements/lock.txt": "numpy==2.0\n",
    "configs/data/toy.yaml": "name: toy\nkind: digits\nseed: 7\nscenes: {val: 6}\n",
    "configs/models/base.yaml": "MODEL:\n  WIDTH: 64\nSOLVER:\n  MAX_ITER: 100\n  IMS_PER_BATCH: 2\n",
    "configs/models/student.yaml": "_BASE_: base.yaml\nSOLVER:\n  MAX_ITER: 20\n",
    "configs/suites/toy.yaml": """\
name: toy
title: "Toy & friends"
description: "A <b>small</b> suite."
dataset: configs/data/toy.yaml
train_seeds: [0, 1]
eval_seeds: [0, 1]
experiments:
  backbone: {model: configs/models/base.yaml, shared: true}
  baseline: {model: configs/models/base.yaml, init: backbone}
  student: {model: configs/models/student.yaml, init: baseline, teacher: baseline}
rows:
  - {exp_id: base_1, experiment: baseline, sample_step: 1, label: "Baseline, 1 step"}
  - {exp_id: base_4, experiment: baseline, sample_step: 4, label: "Baseline, 4 steps"}
  - {exp_id: student_1, experiment: student, sample_step: 1, label: "Student | 1 step"}
main_table:
  - {method: Baseline, type: diffusion, backbone: R50, epochs: 12, exp_id: base_1}
  - {method: Ours_1, type: "distilled & fast", backbone: R50, epochs: 12+2, exp_id: student_1, notes: "1 step"}
comparisons:
  - {a: student_1, b: base_1, claim: distillation helps}
speedups:
  - {fast: student_1, slow: base_4}
timing: {images: 4, batch: 1, warmup: 1, repeats: 3, train_seed: 0}
attention: {nodes: [100], heads: 4, dim: 64, repeats: 2}
gallery: {rows: [base_4, student_1], images: 2}
""",
    "c2o_model/config.py": "x = 1\n",
    "c2o_model/data/digits.py": "generator = 1\n",
    "c2o_model/training/run.py": "train = 1\n",
    "c2o_model/evaluation/run.py": "evaluate = 1\n",
    "c2o_model/evaluation/timing.py": "time = 1\n",
    "c2o_model/evaluation/attention_bench.py": "bench = 1\n",
    "c2o_model/graph/attention.py": "attention = 1\n",
    "c2o_model/gallery/build.py": "gallery = 1\n",
    "c2o_evidence/metrics.py": "ap = 1\n",
}


def write_data(folder: Path) -> str:
    """Annotations of six images with two objects each, and the data manifest; its digest."""
    rng = np.random.default_rng(0)
    images = [{"id": i, "width": 64, "height": 64, "file_name": f"{i}.png"} for i in range(1, 7)]
    annotations = []
    for image in images:
        for label in (1, 2):
            x, y = rng.integers(0, 24, 2).tolist()
            w, h = rng.integers(12, 40, 2).tolist()
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image["id"], "category_id": label, "bbox": [x, y, w, h],
                 "area": w * h, "iscrowd": 0}
            )  # fmt: skip
    categories = [{"id": index, "name": name} for index, name in enumerate(CLASSES, start=1)]
    folder.mkdir(parents=True)
    text = json.dumps({"images": images, "annotations": annotations, "categories": categories})
    (folder / "val.json").write_text(text)
    digest = sha256_file(folder / "val.json")
    whole = hashlib.sha256(f"{digest}  val.json\n".encode()).hexdigest()
    manifest = {
        "schema": 1,
        "name": "toy",
        "config": {"name": "toy", "seed": 7, "scenes": {"val": 6}},
        "sha256": whole,
        "splits": {"val": {"annotation": "val.json"}},
        "files": {"val.json": {"bytes": len(text), "sha256": digest}},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return whole


def detections_of(truth: dict, *numbers: int) -> Detections:
    """The true boxes, moved by noise that the numbers decide, with scores; a third are false."""
    rng = np.random.default_rng(numbers)
    boxes, scores, labels, ids = [], [], [], []
    for item in truth["annotations"]:
        x, y, w, h = item["bbox"]
        boxes.append(np.array([x, y, x + w, y + h]) + rng.normal(0, 2.5, 4))
        scores.append(rng.uniform(0.3, 1.0))
        labels.append(item["category_id"] - 1 if rng.uniform() < 0.8 else 2 - item["category_id"])
        ids.append(item["image_id"])
    box = np.sort(np.array(boxes).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    return Detections.from_arrays({"image_id": ids, "box": box, "score": scores, "label": labels})


def train(root: Path, base: Path, suite: Suite, experiment: str, seed: int) -> None:
    folder = base / "train" / experiment / f"seed{seed}"
    folder.mkdir(parents=True)
    spec, parents = suite.experiment(experiment), {}
    for role, parent in (("init", spec.init), ("teacher", spec.teacher)):
        if parent is not None:
            parent_seed = 0 if suite.experiment(parent).shared else seed
            parents[role] = base / "train" / parent / f"seed{parent_seed}" / "model.safetensors"
    recipe = suite.recipe(experiment, seed)
    digests = {"recipe": recipe.digest, "config": recipe.config_sha256}
    digests |= {"data": recipe.data_sha256, "code": recipe.code_sha256}
    metadata = {"experiment": experiment, "train_seed": str(seed), "iterations": "5"}
    metadata |= {f"{name}_sha256": digest for name, digest in digests.items()}
    metadata |= {f"{role}_sha256": sha256_file(path) for role, path in parents.items()}
    rng = np.random.default_rng([seed, len(experiment)])
    model = folder / "model.safetensors"
    save_file({"w": rng.normal(size=(8, 8)).astype(np.float32)}, model, metadata=metadata)
    write_sidecar(model)
    (folder / "config.yaml").write_text(yaml.safe_dump(suite.config_of(experiment)))
    rank = suite.needed.index(experiment)
    curve = [{"iteration": i, "lr": 0.1 / i, "loss": 3.0 / i + seed + 0.1 * rank} for i in range(1, 6)]
    write_tsv(folder / "curve.tsv", curve, "curve")
    made = {
        name: folder / name for name in ("model.safetensors", "model.safetensors.sha256", "config.yaml", "curve.tsv")
    }
    told = {"experiment": experiment, "seed": str(seed), "recipe": recipe.digest}
    rule = "distill" if spec.teacher else "train"
    record(root, base, folder, rule, {"data": root / DATA, **parents}, made, told)


def evaluate(root: Path, base: Path, suite: Suite, experiment: str, seed: int, dataset: str) -> None:
    folder = base / "eval" / experiment / f"seed{seed}"
    model = base / "train" / experiment / f"seed{seed}" / "model.safetensors"
    truth_path = root / "data" / "toy" / "val.json"
    truth, document = GroundTruth.load(truth_path), json.loads(truth_path.read_text())
    identity = {
        "ckpt_path": model.relative_to(base).as_posix(),
        "ckpt_sha256": sha256_file(model),
        "config_sha256": suite.recipe(experiment, seed).config_sha256,
        "dataset_sha256": dataset,
        "code_sha256": code_digest(root, "evaluate"),
        "train_seed": seed,
    }
    found, rows = {}, []
    for number, row in enumerate(suite.rows_of(experiment)):
        for eval_seed in suite.eval_seeds:
            key = (row.exp_id, eval_seed)
            found[key] = detections_of(document, len(experiment), number, seed, eval_seed)
            own = {"exp_name": row.exp_id, "eval_seed": eval_seed, "sample_step": row.sample_step}
            rows.append({**identity, **own, **truth.evaluate(found[key], CLASSES)})
    folder.mkdir(parents=True)
    names = {"ckpt_sha256": identity["ckpt_sha256"], "class_names": json.dumps(CLASSES)}
    write_detections(folder / "detections.safetensors", found, names)
    write_tsv(folder / "results.tsv", rows, "results")
    made = {name: folder / name for name in ("results.tsv", "detections.safetensors")}
    told = {"experiment": experiment, "seed": str(seed), "digest": suite.eval_digest(experiment, seed)}
    record(root, base, folder, "evaluate", {"data": root / DATA, "model": model}, made, told)


def measure(root: Path, base: Path, suite: Suite) -> None:
    timing, timed, machine = [], {}, fingerprint()
    for row in suite.rows:
        model = base / "train" / row.experiment / "seed0" / "model.safetensors"
        timed[row.experiment] = model
        seconds = 0.013 * row.sample_step
        timing.append(
            {
                "exp_id": row.exp_id,
                "ckpt_path": model.relative_to(base).as_posix(),
                "ckpt_sha256": sha256_file(model),
                "train_seed": 0,
                "sample_step": row.sample_step,
                "inference_s_per_img": seconds,
                "inference_s_per_img_min": seconds,
                "inference_s_per_img_max": seconds,
                "inference_fps": 1.0 / seconds,
                "warmup": 1,
                "repeats": 3,
                "images": 4,
                "batch": 1,
                "image_height": 64,
                "image_width": 64,
                "dtype": "float32",
                "device": "cpu",
                "threads": 1,
                "hardware_id": machine["id"],
                "hardware": machine["cpu"],
            }
        )
    write_tsv(base / "timing" / "timing.tsv", timing, "timing")
    made, told = {"timing": base / "timing" / "timing.tsv"}, {"digest": suite.timing_digest()}
    record(root, base, base / "timing", "timing", {"data": root / DATA, **timed}, made, told)
    samples = {"int": 1, "float": 0.5, "str": "x"}
    kernel = {c.name: c.choices[0] if c.choices else samples[c.kind] for c in tsv_schema("attention").columns}
    kernel |= {"nodes": 100, "heads": 4, "dim": 64, "repeats": 2, "status": "ok", "hardware_id": machine["id"]}
    write_tsv(base / "attention" / "attention.tsv", [{**kernel, "impl": i} for i in ("mha", "torch")], "attention")
    made, told = {"attention": base / "attention" / "attention.tsv"}, {"digest": suite.attention_digest()}
    record(root, base, base / "attention", "attention", {}, made, told)
    shown = {name: base / "train" / name / "seed0" / "model.safetensors" for name in ("baseline", "student")}
    told = {"digest": suite.gallery_digest()}
    record(root, base, base / "gallery", "gallery", {"data": root / DATA, **shown}, write_gallery(base, suite), told)


def record(root: Path, base: Path, folder: Path, rule: str, inputs: dict, outputs: dict, parameters: dict) -> None:
    write_record(
        folder / "record.json",
        rule=rule,
        inputs=inputs,
        outputs=outputs,
        parameters={"suite": base.name, **parameters},
        lock_sha256=sha256_file(root / "requirements" / "lock.txt"),
        code_sha256=code_digest(root, "train" if rule == "distill" else rule),
        started=STARTED,
        suite_dir=base,
        root=root,
    )


def stage(root: Path) -> Path:
    """Tables, figures, manifest and bundle from the results that are in `root`."""
    suite = load_suite("toy", root)
    base = root / "results" / "toy"
    tables = write_tables(base, suite, root / "data" / "toy")
    results = {
        f"{name}{seed}.{file}": base / "eval" / name / f"seed{seed}" / file
        for name, seed in suite.eval_jobs
        for file in ("results.tsv", "detections.safetensors")
    }
    read = {"data": root / DATA, **results, "timing": base / "timing" / "timing.tsv"}
    told = {"digest": suite.tables_digest()}
    record(root, base, base / "tables", "tables", read, {path.name: path for path in tables}, told)
    write_figures(base, suite)
    write_manifest(base, suite)
    bundle = base / "bundle"
    stage_bundle(base, bundle, suite, data_dir=root / "data" / "toy", lock=root / "requirements" / "lock.txt")
    return bundle


@contextmanager
def drawing_once() -> Iterator[None]:
    """Figures follow from their rows alone, so those that are verified again and again are drawn once a session."""
    draw, drawn = figures.build_figures, {}

    def build_figures(suite: Suite, *rows: object) -> dict[str, bytes]:
        key = hashlib.sha256(repr((suite.to_dict(), rows)).encode()).digest()
        if key not in drawn:
            drawn[key] = draw(suite, *rows)
        return drawn[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "build_figures", build_figures)
        yield


@pytest.fixture(scope="session", autouse=True)
def drawn_once() -> Iterator[None]:
    with drawing_once():
        yield


def build(root: Path) -> None:
    """All results of the suite `toy` in an empty directory, which becomes a repository, and the staged bundle."""
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name in code_files(ROOT, "tables"):  # what draws and counts here: figures can be drawn again and compared
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, root / name)
    dataset = write_data(root / "data" / "toy")
    suite, base = load_suite("toy", root), root / "results" / "toy"
    for experiment, seed in suite.train_jobs:
        train(root, base, suite, experiment, seed)
    for experiment, seed in suite.eval_jobs:
        evaluate(root, base, suite, experiment, seed, dataset)
    measure(root, base, suite)
    stage(root)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with all results of the suite `toy` and its staged bundle. Not to be changed."""
    root = tmp_path_factory.mktemp("built")
    build(root)
    return root


@pytest.fixture
def root(built: Path, tmp_path: Path) -> Path:
    """A copy of the repository, to be changed."""
    return Path(shutil.copytree(built, tmp_path / "repo"))


@pytest.fixture
def bundle(built: Path, tmp_path: Path) -> Path:
    """A copy of the staged bundle alone, with no ledger around it."""
    return Path(shutil.copytree(built / "results" / "toy" / "bundle", tmp_path / "copy" / "toy"))


@pytest.fixture
def frozen(root: Path) -> Path:
    """The frozen deliverable in a repository of its own."""
    freeze(root / "results" / "toy" / "bundle", root / "deliverables" / "toy")
    return root / "deliverables" / "toy"


@pytest.fixture
def reseal() -> Callable[[Path], None]:
    """Makes SHA256SUMS fit again, as someone would who edits a bundle and hides it."""

    def run(bundle: Path) -> None:
        write_sha256sums(bundle)

    return run
