"""Checklists and model cards: every figure against an independent reading of the bundle's files."""

import csv
import hashlib
import json
import statistics
from datetime import datetime
from pathlib import Path

import jsonschema
import pytest
import yaml

from c2o_evidence.cli import main
from c2o_evidence.publish.checklist import checklist, checklist_markdown
from c2o_evidence.publish.model_card import model_card
from c2o_evidence.publish.source import read_source

# The layout that the Hub documents for `model-index`, as far as a card of ours uses it.
TEXT = {"type": "string", "minLength": 1}
MODEL_INDEX = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["name", "results"],
        "properties": {
            "name": TEXT,
            "results": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "required": ["task", "dataset", "metrics"],
                    "properties": {
                        "task": {"type": "object", "required": ["type"], "properties": {"type": TEXT, "name": TEXT}},
                        "dataset": {
                            "type": "object",
                            "required": ["type", "name"],
                            "properties": {"type": TEXT, "name": TEXT, "config": TEXT, "split": TEXT, "revision": TEXT},
                        },
                        "metrics": {
                            "type": "array",
                            "minItems": 1,
                            "items": {
                                "type": "object",
                                "required": ["type", "value"],
                                "properties": {"type": TEXT, "value": {"type": "number"}, "name": TEXT},
                            },
                        },
                    },
                },
            },
        },
    },
}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_every_link_of_the_checklist_leads_to_a_file_with_that_digest(bundle: Path) -> None:
    items = checklist(read_source(bundle))
    links = [link for item in items for link in item.links]
    assert len(links) > 20
    for link in links:
        assert hashlib.sha256((bundle / link.path).read_bytes()).hexdigest() == link.sha256, link.path
    assert all(item.links for item in items if item.status == "evidence")
    assert not [item.name for item in items if item.status == "authors" and "will" in item.answer]


def test_the_checklists_have_all_their_items(bundle: Path) -> None:
    items = checklist(read_source(bundle))
    neurips = [item.name for item in items if item.list == "NeurIPS paper checklist"]
    assert [name.split(".")[0] for name in neurips] == [str(number) for number in range(1, 17)]
    assert len([item for item in items if item.list == "ACM artifact badges"]) == 5


def test_figures_of_the_checklist(bundle: Path) -> None:
    answers = {item.name: item.answer for item in checklist(read_source(bundle))}
    runs = rows_of(bundle / "tables" / "runs.tsv")
    train, evals = {row["train_seed"] for row in runs}, {row["eval_seed"] for row in runs}
    text = f"{len(train)} train seeds x {len(evals)} eval seeds, {len(runs)} runs of 3 rows, 5 trainings"
    assert text == "2 train seeds x 2 eval seeds, 12 runs of 3 rows, 5 trainings"
    assert text in answers["4. Result reproducibility"] and text in answers["Artifacts Evaluated: Functional"]
    seconds = 0.0
    for path in bundle.rglob("record.json"):
        record = json.loads(path.read_text())
        begin, end = (datetime.fromisoformat(record[key]) for key in ("started", "ended"))
        seconds += (end - begin).total_seconds()
    assert answers["8. Compute resources"].startswith(f"{seconds / 3600:.2f} hours of jobs (")
    (comparison,) = rows_of(bundle / "tables" / "comparisons.tsv")
    shown = comparison["holds"] == "yes"
    assert f"Of 1 stated comparison, {int(shown)} hold" in answers["1. Claims"]
    assert ("Not shown: distillation helps" in answers["1. Claims"]) == (not shown)
    assert "n = 2" in answers["7. Statistical significance"]
    assert "wilcoxon: refused" in answers["7. Statistical significance"]


def test_figures_of_the_reproducibility_checklist(bundle: Path) -> None:
    items = {item.name: item for item in checklist(read_source(bundle)) if item.list == "ML reproducibility checklist"}
    parts = [name.split(" ")[0] for name in items]
    assert {part: parts.count(part) for part in parts} == {"Models": 3, "Theory": 2, "Data": 5, "Code": 5, "Results": 6}
    records = [json.loads(path.read_text()) for path in bundle.rglob("record.json")]
    trained = [record for record in records if record["rule"] in ("train", "distill")]
    runs = rows_of(bundle / "tables" / "runs.tsv")
    told = f"{len(trained)} trainings, {len(runs)} evaluation runs"
    assert told == "5 trainings, 12 evaluation runs"
    assert items["Results 2. Number of runs"].answer.startswith(told)
    spent = [
        (datetime.fromisoformat(record["ended"]) - datetime.fromisoformat(record["started"])).total_seconds()
        for record in trained
    ]
    assert items["Results 5. Average run time or energy"].answer.startswith(
        f"{statistics.fmean(spent):.0f} s a training"
    )
    codes = {record["code_sha256"][:12] for record in records if record["rule"] == "evaluate"}
    assert all(code in items["Code 3. Evaluation code"].answer for code in codes)
    linked = [json.loads((bundle / link.path).read_text()) for link in items["Code 3. Evaluation code"].links]
    assert {record["code_sha256"][:12] for record in linked} == codes
    assert items["Code 4. Trained models"].answer.startswith(
        f"{len(list(bundle.rglob('model.safetensors')))} checkpoint"
    )
    assert all(item.status == "authors" for name, item in items.items() if name.startswith(("Models", "Theory")))


def test_the_checklist_as_json_and_in_a_file(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checklist", str(bundle), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["root_sha256"] == hashlib.sha256((bundle / "SHA256SUMS").read_bytes()).hexdigest()
    assert main(["checklist", str(bundle), "--out", str(tmp_path / "list.md")]) == 0
    assert (tmp_path / "list.md").read_text() == checklist_markdown(read_source(bundle))
    assert main(["checklist", str(bundle), "--out", str(bundle / "list.md")]) == 2
    assert "lies in the bundle, which is frozen; name a file elsewhere" in capsys.readouterr().err
    assert main(["checklist", str(bundle), "--out", str(tmp_path)]) == 2
    assert f"{tmp_path}: is a directory; name a file in it" in capsys.readouterr().err


def test_the_model_card(bundle: Path) -> None:
    card = model_card(read_source(bundle))
    assert card.startswith("---\n")
    front, body = card[4:].split("\n---\n", 1)
    metadata = yaml.safe_load(front)
    jsonschema.validate(metadata["model-index"], MODEL_INDEX)
    (model,) = metadata["model-index"]
    runs = rows_of(bundle / "tables" / "runs.tsv")
    # What huggingface_hub.EvalResult.unique_identifier is made of: equal ones are merged into one result.
    keys = ("type", "config", "split", "revision")
    assert len({tuple(result["dataset"][key] for key in keys) for result in model["results"]}) == 3
    root = hashlib.sha256((bundle / "SHA256SUMS").read_bytes()).hexdigest()
    assert {result["dataset"]["args"]["root_sha256"] for result in model["results"]} == {root}
    by_row = {result["dataset"]["args"]["exp_id"]: result for result in model["results"]}
    assert model["name"] == "toy" and set(by_row) == {"base_1", "base_4", "student_1"}
    for exp_id, result in by_row.items():
        values = [float(row["AP"]) for row in runs if row["exp_name"] == exp_id]
        metric = next(metric for metric in result["metrics"] if metric["type"] == "AP")
        assert metric["value"] == pytest.approx(statistics.fmean(values), rel=1e-12)
        assert metric["args"]["std_pop"] == pytest.approx(statistics.pstdev(values), rel=1e-12)
        assert metric["args"]["n_runs"] == len(values) == 4
        assert result["dataset"]["revision"] == runs[0]["dataset_sha256"]
        assert f"| {statistics.fmean(values):.2f} ± {statistics.pstdev(values):.2f} |" in body
    for row in runs:
        assert f"| `{row['ckpt_path']}` | `{row['ckpt_sha256']}` |" in body
    assert "Student \\| 1 step" in body and "A <b>small" not in body


def test_one_row_of_the_model_card(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model-card", str(bundle), "--exp-id", "student_1"]) == 0
    card = capsys.readouterr().out
    assert "student_1" in card and "base_4" not in card and "train/baseline" not in card
    assert main(["model-card", str(bundle), "--exp-id", "studnt_1"]) == 2
    assert "'studnt_1' is not a row" in capsys.readouterr().err


def test_nothing_is_said_about_a_bundle_that_does_not_verify(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (bundle / "tables" / "summary.tsv").open("ab") as stream:
        stream.write(b"\n")
    for command in ("checklist", "model-card"):
        assert main([command, str(bundle)]) == 1
        assert "does not verify, so nothing is written about it: changed: tables/summary.tsv" in capsys.readouterr().err


def test_a_bundle_that_lacks_a_file_or_has_no_times_is_an_error(bundle: Path, reseal, capsys) -> None:
    path = bundle / "tables" / "record.json"
    text = path.read_text()
    path.write_text(json.dumps(json.loads(text) | {"ended": "2024-13-32T12:00:00Z"}))
    reseal(bundle)
    assert main(["checklist", str(bundle)]) == 2
    assert "record.json: ended: '2024-13-32T12:00:00Z' is no time" in capsys.readouterr().err
    path.write_text(text)
    (bundle / "README.md").unlink()
    reseal(bundle)
    assert main(["checklist", str(bundle)]) == 2
    assert "has no README.md, which its suite asks for" in capsys.readouterr().err
