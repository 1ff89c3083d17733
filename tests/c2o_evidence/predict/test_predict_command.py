"""`c2o predict` and `c2o watch` up to the model's process: what is meant by what is typed, what is said if nothing."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from c2o_evidence.cli import main
from c2o_evidence.errors import EvidenceError
from c2o_evidence.predict import command
from c2o_evidence.predict.model import DataSet, find_model, read_data_set
from c2o_evidence.predict.pictures import Picture, find_pictures, key_of, place

SUITE = """\
name: toy
dataset: configs/data/toy.yaml
train_seeds: [0, 3]
eval_seeds: [0]
experiments:
  backbone: {model: configs/models/a.yaml, shared: true}
  student: {model: configs/models/a.yaml, init: backbone}
rows:
  - {exp_id: student_4, experiment: student, sample_step: 4, opts: {MODEL.DiffusionDet.USE_NMS: false}}
"""
FILES = {
    "Snakefile": "",
    "configs/suites/toy.yaml": SUITE,
    "configs/data/toy.yaml": "name: toy\nkind: digits\n",
    "configs/models/a.yaml": "MODEL: {WIDTH: 64}\n",
}


def picture(path: Path, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (shade, 0, 0)).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with a suite, trained with seed 3 alone, and its data set with one val picture."""
    root = tmp_path / "repo"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for experiment, seed in (("student", 3), ("backbone", 0)):
        folder = root / "results" / "toy" / "train" / experiment / f"seed{seed}"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"weights")
        (folder / "config.yaml").write_text("MODEL: {WIDTH: 64}\n")
    data = root / "data" / "toy"
    digest = hashlib.sha256(picture(data / "images" / "1.png").read_bytes()).hexdigest()
    (data / "manifest.json").write_text(json.dumps({"files": {"images/1.png": {"bytes": 1, "sha256": digest}}}))
    (data / "val.json").write_text(
        json.dumps(
            {
                "images": [{"id": 17, "file_name": "images/1.png", "width": 8, "height": 6}],
                "annotations": [],
                "categories": [{"id": 9, "name": "nine"}, {"id": 2, "name": "two"}],
            }
        )  # fmt: skip
    )
    return root


def test_a_row_has_its_checkpoint_steps_options_and_classes(root: Path) -> None:
    model = find_model("toy:student_4:3", root)
    folder = root / "results/toy/train/student/seed3"
    assert (model.checkpoint, model.config) == (folder / "model.safetensors", folder / "config.yaml")
    assert (model.steps, model.opts) == (4, {"MODEL.DiffusionDet.USE_NMS": False})
    assert (model.data.classes, model.data.category_ids) == (("two", "nine"), (2, 9))
    assert model.title == "student_4 of toy, train seed 3"
    shared = find_model("toy:backbone", root)
    assert (shared.steps, shared.opts, shared.checkpoint.parent.name) == (None, {}, "seed0")


def test_a_file_has_its_configuration_beside_it_and_the_suite_around_it(root: Path, tmp_path: Path) -> None:
    folder = root / "results/toy/train/student/seed3"
    for named in (folder, folder / "model.safetensors"):
        model = find_model(str(named), root)
        assert (model.checkpoint, model.data.classes, model.steps) == (
            folder / "model.safetensors",
            ("two", "nine"),
            None,
        )
    released = tmp_path / "released.pth"
    released.write_bytes(b"x")
    (tmp_path / "own.yaml").write_text("")
    model = find_model(str(released), root, tmp_path / "own.yaml")
    assert (model.config, model.data) == (tmp_path / "own.yaml", DataSet())
    assert find_model(str(released), root, tmp_path / "own.yaml", root / "data/toy").data.category_ids == (2, 9)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("toy:student_4", "model.safetensors: is not there yet; type `c2o run toy` to train it"),
        ("toy:student_4:5", "--checkpoint toy:student_4:5: '5' is not a train seed; known: 0, 3"),
        ("toy:student_4:x", "'x' is not a train seed"),
        ("toy:student_1", "--checkpoint toy:student_1: 'student_1' is not a row of toy; known: student_4"),
        ("joy:student_4", "configs/suites/joy.yaml: does not exist; did you mean 'toy'?"),
        ("toy", "--checkpoint toy: is neither a file nor SUITE:ROW (such as step1_5seed:student_1); `c2o status`"),
        ("gone.pth", "--checkpoint gone.pth: does not exist; name a checkpoint, or SUITE:ROW"),
    ],
)
def test_what_is_no_checkpoint_is_told_with_what_to_type(root: Path, named: str, message: str) -> None:
    with pytest.raises(EvidenceError) as caught:
        find_model(named, root)
    assert message in str(caught.value)


def test_a_checkpoint_without_configuration_asks_for_one(root: Path) -> None:
    folder = root / "results/toy/train/student/seed3"
    (folder / "config.yaml").unlink()
    for named in (str(folder), "toy:student_4:3"):
        with pytest.raises(EvidenceError, match=r"config.yaml: .*; name (its|the) configuration with --config-file"):
            find_model(named, root)
    with pytest.raises(EvidenceError, match="none.yaml: does not exist; name its configuration with --config-file"):
        find_model(str(folder), root, Path("none.yaml"))


def test_noise_is_keyed_by_image_id_or_by_content(root: Path, tmp_path: Path) -> None:
    known = read_data_set(root / "data" / "toy").pictures
    copy, other = tmp_path / "renamed.png", picture(tmp_path / "other.png", 9)
    copy.write_bytes((root / "data/toy/images/1.png").read_bytes())
    assert key_of(copy, known) == (17, True)
    digest = hashlib.sha256(other.read_bytes()).hexdigest()
    assert key_of(other, known) == (int(digest[:12], 16), False) and key_of(other, known)[0] < 2**53


def test_a_directory_stands_for_its_pictures_and_names_do_not_collide(tmp_path: Path) -> None:
    names = ("b.png", "a.JPG", "a.png", "notes.txt", "sub/c.png")
    for name in names:
        picture(tmp_path / "in" / name) if name != "notes.txt" else (tmp_path / "in" / name).write_text("x")
    found = find_pictures([tmp_path / "in", tmp_path / "in" / "b.png", tmp_path / "in/sub/c.png"])
    assert [path.name for path in found] == ["a.JPG", "a.png", "b.png", "c.png"]
    placed = place(found, tmp_path / "out", {})
    assert [one.output.name for one in placed] == ["a.JPG.png", "a.png.png", "b.png", "c.png"]
    twice = place([picture(tmp_path / "1/a.png"), picture(tmp_path / "2/a.png")], tmp_path / "out", {})
    assert [one.output.name for one in twice] == ["a.png.png", "a.png-2.png"]
    with pytest.raises(EvidenceError, match="b.png: is one of the pictures itself; choose another --output"):
        place([tmp_path / "in" / "b.png"], tmp_path / "in", {})
    with pytest.raises(EvidenceError, match="gone.png: does not exist; name a picture, or a directory"):
        find_pictures([tmp_path / "gone.png"])
    (tmp_path / "none").mkdir()
    with pytest.raises(EvidenceError, match="none: holds no picture"):
        find_pictures([tmp_path / "none"])


LINES = [
    {"loaded": "x", "steps": 4, "notes": ["no GPU here: it runs on the processor"]},
    {"path": "a.png", "output": "out/a.png", "shown": 0, "found": 7, "best": 0.25},
    {"path": "b.png", "error": "b.png: cannot be decoded (x); copy it again from its source"},
]


def test_what_is_done_and_what_failed_is_told(root: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    given = {}

    def run(_model, _pictures, asked, results):
        given.update(steps=asked.steps, seed=asked.seed, results=results)
        return iter(LINES)

    monkeypatch.setattr(command, "_run", run)
    monkeypatch.chdir(tmp_path)
    typed = [str(picture(tmp_path / "a.png")), str(picture(tmp_path / "b.png"))]
    code = main(["--root", str(root), "predict", *typed, "--checkpoint", "toy:student_4:3", "--seed", "7"])
    said = capsys.readouterr()
    assert code == 1 and given == {"steps": 4, "seed": 7, "results": Path("predictions/detections.json")}
    assert said.out.splitlines() == [
        "student_4 of toy, train seed 3: 4 steps, noise of seed 7",
        "no GPU here: it runs on the processor",
        "out/a.png: 0 drawn of 7 detections; none has a score of 0.5, the best has 0.25: try --score 0.20",
        "1 of 2 drawn in predictions; all detections, as COCO results: predictions/detections.json",
    ]
    assert said.err == "c2o: b.png: cannot be decoded (x); copy it again from its source\n"


def test_the_animation_lies_beside_a_png_of_its_name(root: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    line = {"path": "a.png", "output": "a.gif", "shown": 2, "found": 7, "best": 0.75}
    given: list[Picture] = []
    monkeypatch.setattr(command, "_run", lambda *a: given.extend(a[1]) or iter([LINES[0] | {"steps": 20}, line]))
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "a.png")
    assert main(["--root", str(root), "watch", "a.png", "--checkpoint", "toy:student_4:3"]) == 0
    assert [(one.path, one.image_id, one.known, one.output) for one in given] == [
        (Path("a.png"), 17, True, Path("a.gif"))
    ]
    assert capsys.readouterr().out.splitlines()[-1].startswith("a.gif: 20 frames, one a step")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["predict", "a.png", "--steps", "0"], "--steps 0: is out of range; use 1 to 1000"),
        (["predict", "a.png", "--seed", "-1"], "--seed -1: is out of range; use 0 to 4294967295"),
        (["predict", "a.png", "--score", "1.5"], "--score 1.5: is out of range; use 0 to 1"),
        (["predict", "gone.png"], "gone.png: does not exist; name a picture"),
        (["predict", "a.png", "--data", "bundle"], "--data bundle: has no val.json, which names classes; name the dir"),
        (["watch", "."], ".: is a directory; name one picture"),
        (["watch", "a.png", "-o", "a.mp4"], "-o a.mp4: is not a .gif; name one"),
        (["watch", "a.gif", "-o", "a.gif"], "-o a.gif: is the picture itself; choose another name"),
        (["watch", "a.png", "-o", "frozen/figures/a.gif"], "lies in {here}/frozen, which holds evidence alone"),
        (["predict", "a.png", "--output", "frozen"], "lies in {here}/frozen, which holds evidence alone"),
        (["predict", "a.png", "--output", "a.gif"], "--output a.gif: is a file; name a directory"),
    ],
)
def test_bad_use_is_2_with_a_message(root: Path, tmp_path: Path, monkeypatch, capsys, typed, message) -> None:
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "a.png"), picture(tmp_path / "a.gif")
    (tmp_path / "frozen").mkdir()
    (tmp_path / "frozen" / "SHA256SUMS").touch()
    assert main(["--root", str(root), *typed, "--checkpoint", "toy:student_4:3"]) == 2
    assert message.format(here=tmp_path) in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "frozen").iterdir()] == ["SHA256SUMS"]


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("raise RuntimeError('boom')", "the model's process ended with status 1: RuntimeError: boom"),
        ("import os; os.kill(os.getpid(), 9)", "was killed, for memory most likely; make the picture smaller"),
        ('print(\'{"fatal": "x.yaml: no"}\')', "x.yaml: no"),
        ("print('loading')", "the model's process said 'loading', which is no answer"),
    ],
)
def test_a_process_that_dies_is_no_success(root: Path, tmp_path: Path, monkeypatch, capsys, end, message) -> None:
    popen = subprocess.Popen
    monkeypatch.setattr(command.subprocess, "Popen", lambda _, **how: popen([sys.executable, "-c", end], **how))
    monkeypatch.chdir(tmp_path)
    typed = ["predict", str(picture(tmp_path / "a.png")), "--checkpoint", "toy:student_4:3"]
    assert main(["--root", str(root), *typed]) == 2
    assert message in capsys.readouterr().err


def test_a_model_that_cannot_be_used_is_told_by_its_process(root: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    """The real process, from a directory with a trap in it: nothing is imported from where the user is."""
    monkeypatch.chdir(tmp_path)
    for name in ("json.py", "torch.py", "c2o_model.py"):
        (tmp_path / name).write_text("raise SystemExit('imported from the working directory')\n")
    typed = ["predict", str(picture(tmp_path / "a.png")), "--checkpoint", "toy:student_4:3"]
    assert main(["--root", str(root), *typed]) == 2
    said = capsys.readouterr().err
    assert "config.yaml" in said and "MODEL.WIDTH: unknown configuration key" in said, said
