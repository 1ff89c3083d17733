"""Other classes for a checkpoint: row by row against maps made by hand, and the tables against the published names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES
from detectron2.data.datasets.lvis_v1_categories import LVIS_CATEGORIES
from detectron2.modeling import build_model

from c2o_model import transfer
from c2o_model.checkpoint import load_weights, read_checkpoint, save_checkpoint
from c2o_model.config import dump_resolved
from c2o_model.data.class_map import TABLES, ClassMap, class_names, match_classes, read_table
from c2o_model.data.errors import DataError
from c2o_model.determinism import derive_seed
from tests import fabricated_sets

OBJECTS365 = tuple((Path(__file__).parent / "objects365_classes.txt").read_text(encoding="utf-8").splitlines())
COCO = tuple(entry["name"] for entry in COCO_CATEGORIES if entry["isthing"])
LVIS = tuple(entry["name"] for entry in sorted(LVIS_CATEGORIES, key=lambda entry: entry["id"]))
D = "MODEL.DiffusionDet."


@pytest.fixture(autouse=True)
def kernels_as_before() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def test_every_class_of_coco_has_a_class_of_objects365() -> None:
    assert len(OBJECTS365) == 365 and len(COCO) == 80
    mapped = match_classes(COCO, OBJECTS365, read_table(TABLES / "objects365_to_coco.tsv"))
    assert mapped.without() == ()
    found = {name: OBJECTS365[row] for name, row in zip(COCO, mapped.rows, strict=True) if row is not None}
    assert len(set(found.values())) == 80  # no class serves two
    assert {f"{k} = {v}" for k, v in found.items() if k != v.lower()} == {
        *("bird = Wild Bird", "handbag = Handbag/Satchel", "suitcase = Luggage", "skis = Skiboard", "tv = Moniter/TV"),
        *("sports ball = Other Balls", "bowl = Bowl/Basin", "orange = Orange/Tangerine", "hair drier = Hair Dryer"),
        *("dining table = Dinning Table", "teddy bear = Stuffed Toy"),
    }


def test_corrected_spellings_are_found_too() -> None:
    corrected = [{"Moniter/TV": "Monitor/TV", "Dinning Table": "Dining Table"}.get(n, n) for n in OBJECTS365]
    mapped = match_classes(COCO, corrected, read_table(TABLES / "objects365_to_coco.tsv"))
    assert mapped.without() == ()


def test_classes_of_lvis() -> None:
    assert len(LVIS) == 1203
    mapped = match_classes(LVIS, OBJECTS365, read_table(TABLES / "objects365_to_lvis.tsv"))
    found = {name: row if row is None else OBJECTS365[row] for name, row in zip(LVIS, mapped.rows, strict=True)}
    assert found["car_(automobile)"] == "Car" and found["dog"] == "Dog" and found["tricycle"] == "Tricycle"
    assert found["bell_pepper"] == "Pepper" and found["pepper"] is None  # LVIS's is the spice
    assert found["nut"] is None  # LVIS's is of metal
    assert sum(row is not None for row in mapped.rows) == 1203 - len(mapped.without()) >= 270
    # Each line of the table is needed: no class in it would be found by its name, but for those told to have none.
    plain = match_classes(LVIS, OBJECTS365, {})
    by_name = {name for name, row in zip(LVIS, plain.rows, strict=True) if row is not None}
    table = read_table(TABLES / "objects365_to_lvis.tsv")
    assert {name for name in table if name in by_name} == {name for name, names in table.items() if names == ("-",)}


@pytest.mark.parametrize(
    ("target", "origin", "table", "message"),
    [
        (["a"], ["b", "B"], {}, "B: is the name of two classes of the source; correct its annotation file"),
        (["a"], ["b"], {"c": ("b",)}, "class map: names c, which the target lacks; use the table of these sets"),
        (
            ["a"],
            ["b"],
            {"a": ("c", "d")},
            "class map: a is c or d, which the source lacks; use the table of these sets",
        ),
    ],
)
def test_maps_that_do_not_fit(target: list[str], origin: list[str], table: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        match_classes(target, origin, table)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("to\tfrom\na b\n", "line 2: is not TARGET<tab>SOURCE; correct it"),
        ("# why\nto\tfrom\na\tb\na\tb\n", "line 4: a is listed twice with b; remove a line"),
        ("to\tfrom\na\tb\na\t-\n", "line 3: a is listed twice with -; remove a line"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "map.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_table(path)
    assert str(caught.value) == f"{path}: {message}"


def test_names_come_from_the_users_files(tmp_path: Path) -> None:
    root = fabricated_sets.coco(tmp_path / "datasets")
    sets = fabricated_sets.extra(root)
    environ = {"DETECTRON2_DATASETS": str(root), "EXTRA_COCO_DATASETS": sets}
    assert class_names("coco", environ) == COCO == fabricated_sets.COCO_CLASSES
    assert class_names("cells_val", environ) == ("cell 1", "cell 2", "cell 3")
    assert class_names(str(root / "cells" / "train.json"), environ) == ("cell 1", "cell 2", "cell 3")
    assert class_names("repro10k", environ) == ("car", "motorcycle", "person")
    with pytest.raises(DataError, match=r"objv2_val.json: is missing, the classes of objects365 are read from it"):
        class_names("objects365", environ)
    with pytest.raises(
        DataError, match=r"nothing: is not a set whose classes are known; use one of cells_train, cells_val"
    ):
        class_names("nothing", environ)


SWITCHES = [
    {},
    {D + "LABEL_STATE": True, D + "LABEL_D3PM": True, D + "QUALITY_HEAD": True, D + "GEO_FEAT": True},
    {D + "LABEL_STATE": True, D + "LABEL_STATE_RELATIVE_TO_UNK": False, D + "GEO_BIAS_TYPE": "mlp"},
    {D + "USE_FOCAL": False},
]


@pytest.mark.parametrize("switches", SWITCHES)
def test_all_tensors_with_a_class_dimension_are_known(make_config: Any, switches: dict[str, Any]) -> None:
    one, other = (build_model(make_config({**switches, D + "NUM_CLASSES": k})).state_dict() for k in (3, 5))
    assert one.keys() == other.keys()
    assert {k for k in one if one[k].shape != other[k].shape} == {k for k in one if transfer.CLASS_TENSORS.fullmatch(k)}


@pytest.mark.parametrize("switches", SWITCHES)
def test_rows_follow_the_map(make_config: Any, switches: dict[str, Any]) -> None:
    torch.manual_seed(11)
    state = {k: torch.randn_like(v) if v.is_floating_point() else v
             for k, v in build_model(make_config({**switches, D + "NUM_CLASSES": 5})).state_dict().items()}  # fmt: skip
    cfg = make_config({**switches, D + "NUM_CLASSES": 3})
    mapped = ClassMap(("x", "y", "z"), ("a", "b", "c", "d", "e"), (4, None, 1), ("name", "", "table"))
    new = transfer.transfer(cfg, state, mapped, seed=7, where="here")
    torch.manual_seed(derive_seed("init", 7))
    model = build_model(cfg)
    initial = model.state_dict()
    assert new.keys() == state.keys()
    seen = 0
    for name, value in new.items():
        if name.endswith(("class_logits.weight", "class_logits.bias", "label_embedding.embedding.weight")):
            seen += 1
            after = [state[name][5]] if len(state[name]) == 6 else []  # background or unknown
            expected = torch.stack([state[name][4], initial[name][1], state[name][1], *after])
            assert torch.equal(value, expected)
        else:
            assert torch.equal(value, state[name])
    assert seen == 4 + ("label_embedding.embedding.weight" in " ".join(state))
    model.load_state_dict(new)


@pytest.fixture
def command(make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments that give a tiny detector of three cells the classes of three others."""
    root = tmp_path / "datasets"
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    monkeypatch.setenv("EXTRA_COCO_DATASETS", fabricated_sets.extra(root))
    other = {"categories": [{"id": 9, "name": "new"}, {"id": 4, "name": "Cell 3"}]}
    (tmp_path / "other.json").write_text(json.dumps(other))
    torch.manual_seed(1)
    save_checkpoint(
        tmp_path / "in.safetensors", build_model(make_config()).state_dict(), {"recipe": "r", "train_seed": "3"}
    )
    (tmp_path / "two.yaml").write_text(dump_resolved(make_config({D + "NUM_CLASSES": 2})))
    return [str(tmp_path / "in.safetensors"), str(tmp_path / "out.safetensors"), "--from", "cells_val",
            "--to", str(tmp_path / "other.json"), "--config-file", str(tmp_path / "two.yaml")]  # fmt: skip


def test_the_command(command: list[str], tmp_path: Path, make_config: Any, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.safetensors"
    assert transfer.main(command) == 0
    said = capsys.readouterr().out
    assert "1 of 2 classes have the rows of a class of cells_val\nbegin anew (seed 0): new\n" in said
    old, new = (read_checkpoint(tmp_path / f"{name}.safetensors") for name in ("in", "out"))
    bias = "head.head_series.1.class_logits.bias"
    assert torch.equal(new[0][bias][0], old[0][bias][2])
    table = b"target\tsource\thow\nCell 3\tcell 3\tname\nnew\t-\t\n"
    assert out.with_name("out.safetensors.classes.tsv").read_bytes() == table
    assert new[1] == {
        "parent_sha256": hashlib.sha256((tmp_path / "in.safetensors").read_bytes()).hexdigest(),
        "class_map_sha256": hashlib.sha256(table).hexdigest(),
        "class_map": "cells_val to other.json",
        "seed_of_new_rows": "0",
        "parent_recipe": "r",
        "parent_train_seed": "3",
    }
    load_weights(build_model(make_config({D + "NUM_CLASSES": 2})), out)
    before = out.read_bytes()
    assert transfer.main(command) == 2 and f"error: {out}: is there already; move it away" in capsys.readouterr().err
    assert transfer.main([*command, "--force"]) == 0 and out.read_bytes() == before
    assert transfer.main([*command, "--force", "--seed", "1"]) == 0 and out.read_bytes() != before


def test_a_table_of_ones_own(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "map.tsv").write_text("other\tcells\nnew\tcell 1\n")
    assert transfer.main([*command, "--map", str(tmp_path / "map.tsv")]) == 0
    assert "2 of 2 classes have the rows of a class of cells_val\nwrote " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--from": "repro10k_oops"}, "repro10k_oops: is not a set whose classes are known"),
        ({"--from": "crowdhuman"}, "class_logits.bias is 3, but --from has 1 classes; is it of that set"),
        ({"--to": "cells_train"}, "MODEL.DiffusionDet.NUM_CLASSES: 2, but the target has 3 classes"),
        ({"out": "x.pth"}, "x.pth: the name must end in .safetensors"),
        ({"in": "gone.safetensors"}, "gone.safetensors: no such file"),
        ({"--map": "gone.tsv"}, "gone.tsv: cannot be read"),
    ],
)
def test_faults(command: list[str], changes: dict[str, str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    for key, value in changes.items():
        if key in ("in", "out"):
            command[key == "out"] = value
        else:
            command += [key, value]
    assert transfer.main(command) == 2
    assert message in capsys.readouterr().err
