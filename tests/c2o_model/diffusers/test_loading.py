"""In a process that knows nothing yet: a saved pipeline loads, a missing package is one line; the page's code runs."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from c2o_model.config import dump_resolved
from c2o_model.modeling.targets import TrainingBatch, TrainingDraws
from tests.c2o_model.diffusers.conftest import KINDS, MakePair

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "diffusers.md"
LOAD = """
import hashlib, sys
from c2o_model.determinism import pin_environment, set_deterministic
pin_environment()
set_deterministic()
import torch
from c2o_model.diffusers import HybridDiffusionPipeline
pipeline = HybridDiffusionPipeline.from_pretrained(sys.argv[1])
pipeline.set_progress_bar_config(disable=True)
image = torch.arange(3 * 64 * 64).reshape(3, 64, 64).remainder(251).byte()
found = pipeline(image, [7], [0, 3], 4, output_type="np").detections[0]
print(hashlib.sha256(b"".join(p.tobytes() for d in found for p in (d.boxes, d.scores, d.labels))).hexdigest())
print(type(pipeline.label_scheduler).__name__, "detectron2.engine" in sys.modules)
"""
MISSING = """
import sys
sys.path.insert(0, sys.argv[1])
import importlib.util as u
real = u.find_spec
u.find_spec = lambda name, *a: None if name == "diffusers" else real(name, *a)
try:
    import c2o_model.diffusers.evaluate
except ImportError as error:
    print(type(error).__module__, error)
print("torch" in sys.modules)
"""


def run(code: str, argument: Path) -> list[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(argument)], capture_output=True, text=True, env=environ, cwd="/", check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_fresh_process_loads_it_and_finds_the_same_bits(make_pair: MakePair, tmp_path: Path) -> None:
    pipeline = make_pair("hard")[1]
    pipeline.save_pretrained(tmp_path)
    image = torch.arange(3 * 64 * 64).reshape(3, 64, 64).remainder(251).byte()
    found = pipeline(image, [7], [0, 3], 4, output_type="np").detections[0]
    digest = hashlib.sha256(b"".join(p.tobytes() for d in found for p in (d.boxes, d.scores, d.labels))).hexdigest()
    assert run(LOAD, tmp_path) == [digest, "D3PMLabelScheduler False"]


def test_a_missing_package_is_one_line_at_once() -> None:
    told = "c2o_model.diffusers c2o_model.diffusers needs Diffusers, which is not installed; `make extras` installs it"
    assert run(MISSING, ROOT) == [told, "False"]


def test_the_core_imports_no_diffusers() -> None:
    """Nothing outside of the package names it or Diffusers in an import."""
    for path in sorted((ROOT / "c2o_model").rglob("*.py")):
        if path.parent.name != "diffusers":
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"^\s*(from|import) (diffusers|c2o_model\.diffusers)\b", text, re.MULTILINE), path


@pytest.fixture
def example(make_pair: MakePair, make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the page's code has made, run from its first to its last block where its files lie."""
    from c2o_model.checkpoint import save_checkpoint

    trained = tmp_path / "deliverables/quick/train/warmstart/seed0"
    trained.mkdir(parents=True)
    (trained / "config.yaml").write_text(dump_resolved(make_config(**KINDS["hybrid"])))
    save_checkpoint(trained / "model.safetensors", make_pair("hybrid")[0].state_dict(), {})
    pictures = tmp_path / "data/digits_mini/images/val"
    pictures.mkdir(parents=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)).save(
        pictures / "000002.png"
    )
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "example"}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_the_example_of_the_page_runs(example: dict[str, Any]) -> None:
    assert len(example["found"][0]) == 1 and len(example["first"].scores) > 0
    assert len(example["seen"]) == 4 and all(boxes.shape == (1, 16, 4) for boxes in example["seen"])
    assert example["loss"].item() > 0
    assert all(p.grad is not None for n, p in example["detector"].named_parameters() if "class_logits" in n)


@pytest.mark.stack_feature("losses", stack="diffusers")
def test_training_on_collated_targets_is_c2os_own(example: dict[str, Any]) -> None:
    """The page's last block against DiffusionDet.losses with the same random numbers."""
    names, b, n = example, 2, 16
    draw = torch.Generator().manual_seed(5)
    draws = TrainingDraws(
        t=torch.randint(0, 1000, (b,), generator=draw),
        noise=torch.randn(b, n, 4, generator=draw),
        fill=torch.randn(b, n, 4, generator=draw),
        order=torch.rand(b, n, generator=draw),
        label=torch.rand(b, n, generator=draw),
        start=torch.randn(b, n, 4, generator=draw),
    )
    model, truth = names["detector"].model, names["truth"]
    expected = model.losses(truth, draws)
    pipeline = names["pipeline"]
    gt = names["xyxy_to_cxcywh"](names["boxes"] / names["whwh"][:, None])
    clean, _ = names["pad_nodes"](gt, names["mask"], n, draws.fill, draws.order)
    noisy = pipeline.box_scheduler.add_noise(names["encode"](clean, 2.0), draws.noise, draws.t)
    states = pipeline.label_scheduler.add_noise(names["labels"], draws.label, draws.t)
    out = names["detector"](noisy, draws.t, model.features(truth.images), truth.whwh, states)
    found = model.set_losses(out, truth)
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)
    alone = TrainingBatch(truth.images, truth.boxes[:, :1], truth.labels[:, :1], truth.mask[:, :1], truth.whwh)
    unpadded = model.losses(alone, draws)  # padding to N ground truths changes nothing
    for name in found:
        torch.testing.assert_close(found[name], unpadded[name])
