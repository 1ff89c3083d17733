"""The room of a replay: what lies in it, what is refused, and what is done again or not, without training anything."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from c2o_evidence.cli import main
from c2o_evidence.digests import sha256_file
from c2o_evidence.errors import EvidenceError
from c2o_evidence.lock import locked
from c2o_evidence.model_config import config_digest
from c2o_evidence.suite import load_resolved_suite, load_suite
from c2o_evidence.tsv import read_tsv
from c2o_evidence.verify import verify
from c2o_evidence.verify.files import check_files
from c2o_evidence.verify.records import DATA
from c2o_evidence.verify.replay import Source, replay
from c2o_evidence.verify.replay.refusals import refusals
from c2o_evidence.verify.replay.room import enter_room, room_path

REPOSITORY = Path(__file__).parents[3]


def source_of(bundle: Path) -> Source:
    files = check_files(bundle)
    return Source(bundle, load_resolved_suite(bundle / "suite.yaml"), files.found, files.root_digest)


def edited(bundle: Path, name: str, change: Callable[[dict], object]) -> Source:
    """The bundle with a YAML file changed, as someone would make it who means harm."""
    document = yaml.safe_load((bundle / name).read_text())
    change(document)
    (bundle / name).write_text(yaml.safe_dump(document))
    return source_of(bundle)


def test_the_room_holds_the_bundle_s_own_configurations_and_checkpoints(root: Path, bundle: Path) -> None:
    room = enter_room(root, source_of(bundle), "eval")
    assert room.path == root / "results/.state/replay" / f"toy-{sha256_file(bundle / 'SHA256SUMS')[:12]}-eval"
    suite = load_suite("toy", room.path)
    (run, *_) = read_tsv(bundle / "eval/student/seed1/results.tsv", "results")
    assert config_digest(suite.config_of("student")) == run["config_sha256"]
    # The digest of what decides an evaluation is that of the suite the bundle was made from.
    own = load_suite("toy", root)
    assert [suite.eval_digest(*job) for job in suite.eval_jobs] == [own.eval_digest(*job) for job in own.eval_jobs]
    assert [suite.recipe(*job).digest for job in suite.train_jobs] == [own.recipe(*j).digest for j in own.train_jobs]
    assert (suite.main_table, suite.timing, suite.attention) == ((), None, None)
    frozen, placed = bundle / "train", room.results / "train"
    names = [path.relative_to(frozen) for path in sorted(frozen.rglob("*")) if path.is_file()]
    assert {name: sha256_file(placed / name) for name in names} == {name: sha256_file(frozen / name) for name in names}
    assert not (room.results / "eval").exists()
    assert sha256_file(room.path / "data/toy/val.json") == sha256_file(bundle / "data/val.json")


def test_the_room_of_level_train_holds_no_checkpoint(root: Path, bundle: Path) -> None:
    room = enter_room(root, source_of(bundle), "train")
    assert not room.results.exists() and not (room.path / "results/.state").exists()


def test_an_interrupted_replay_goes_on_and_one_of_other_code_or_at_its_end_starts_afresh(
    root: Path, bundle: Path
) -> None:
    source = source_of(bundle)
    first = enter_room(root, source, "eval")
    (first.path / "made").touch()
    again = enter_room(root, source, "eval")
    assert (first.resumed, again.resumed) == (False, True) and (first.path / "made").exists()
    (root / "c2o_model/evaluation/run.py").write_text("evaluate = 2\n")
    changed = enter_room(root, source, "eval")
    assert not changed.resumed and not (first.path / "made").exists()
    changed.end()
    assert not enter_room(root, source, "eval").resumed


def test_data_that_are_not_the_bundle_s_are_not_used(root: Path, bundle: Path) -> None:
    (root / "data/toy/val.json").write_text("{}")
    room = enter_room(root, source_of(bundle), "eval")
    assert not (room.path / "data/toy").exists(), "a set of kind digits is made in the room"


def test_a_data_set_that_cannot_be_made_is_asked_for(root: Path, bundle: Path) -> None:
    (root / "data/toy/manifest.json").unlink()
    split = {"json": "val.json", "images": "images"}
    coco = {"name": "toy", "kind": "coco", "splits": {"train": split, "val": split}}
    source = edited(bundle, "suite.yaml", lambda suite: suite.update(data_config=coco))
    with pytest.raises(EvidenceError, match=r"data/toy: is not in this checkout; the replay needs the data set .* 1 f"):
        enter_room(root, source, "eval")
    assert not room_path(root, source, "eval").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.WEIGHTS", "/etc/passwd"),
        ("MODEL.WEIGHTS", "model.pth"),
        ("OUTPUT_DIR", "out"),
        ("DATASETS.TRAIN", ["~/pictures"]),
        ("DATASETS.PROPOSAL_FILES_TRAIN", ["a.pkl"]),
        ("MODEL.DiffusionDet.SAMPLER_DISTILL_TEACHER_WEIGHTS", "../x"),
        ("MODEL.NAME", "$HOME"),
        ("_BASE_", "../../elsewhere.yaml"),
        ("MODEL._BASE_", "other.yaml"),
    ],
)
def test_a_configuration_that_names_files_is_refused(bundle: Path, key: str, value: object) -> None:
    name = "train/student/seed0/config.yaml"
    source = edited(bundle, name, lambda config: config.update({key: value}))
    found = [finding for finding in refusals(source) if finding.kind == "unsafe"]
    assert [(finding.path, finding.column) for finding in found] == [(name, key)]
    assert "names a file or directory" in found[0].message


def test_nothing_of_this_repository_is_refused() -> None:
    from c2o_evidence.verify.replay.refusals import _file_values

    names = [path.stem for path in (REPOSITORY / "configs/suites").glob("*.yaml")]
    suites = [load_suite(name, REPOSITORY) for name in names]
    assert [
        found for suite in suites for name in suite.needed for found in _file_values(suite.config_of(name), "")
    ] == []


def test_names_that_are_no_plain_names_are_refused(bundle: Path) -> None:
    source = edited(bundle, "suite.yaml", lambda suite: suite.update(name="a.b"))
    assert [(f.kind, f.path, f.column) for f in refusals(source)] == [("unsafe", "suite.yaml", "name")]


def test_a_data_path_that_leaves_the_set_is_refused(bundle: Path) -> None:
    manifest = json.loads((bundle / DATA).read_text())
    manifest["files"]["../../x.png"] = {"bytes": 1, "sha256": "0" * 64}
    (bundle / DATA).write_text(json.dumps(manifest))
    (finding,) = refusals(source_of(bundle))
    assert finding.kind == "unsafe" and "climbs out of its directory" in finding.message


def test_seeds_of_one_experiment_with_two_configurations_are_refused(bundle: Path) -> None:
    source = edited(bundle, "train/student/seed1/config.yaml", lambda config: config["SOLVER"].update(MAX_ITER=21))
    (finding,) = refusals(source)
    assert (finding.kind, finding.path) == ("stale", "train/student/seed1/config.yaml")


def test_a_second_replay_at_the_same_time_is_refused(root: Path, bundle: Path) -> None:
    source = source_of(bundle)
    held = locked(room_path(root, source, "eval"))
    with held, pytest.raises(EvidenceError, match="a replay of this bundle is already at work: .* process"):
        replay(source, "eval", root, stream=io.StringIO())


def test_nothing_is_replayed_where_a_lower_level_has_findings(root: Path, bundle: Path) -> None:
    (root / "workflow").mkdir()
    (bundle / "README.md").write_text("x")
    report = verify(bundle, "eval", checkout=root, stream=io.StringIO())
    assert report.exit_code == 1 and report.kinds()["changed"] == 1 and report.replay is None
    assert "nothing was replayed: the bundle does not hold at the levels below" in report.notes


def test_a_tolerance_cannot_be_given(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--tolerance", "--tolerances", "--atol"):
        with pytest.raises(SystemExit) as ended:
            main(["verify", str(bundle), "--level", "eval", option, "1"])
        assert ended.value.code == 2
        assert f"unrecognized arguments: {option} 1" in capsys.readouterr().err


# A workflow that copies what it finds in `answers`, and fails where there is nothing.
SNAKEFILE = """\
rule evaluate:
    output: "results/toy/eval/{experiment}/seed{seed}/results.tsv"
    log: "logs/toy/evaluate/{experiment}/seed{seed}.log"
    shell: "cp ANSWERS/{wildcards.experiment}/seed{wildcards.seed}/* $(dirname {output}) 2> {log}"
"""


def test_jobs_that_fail_are_named_and_a_second_call_goes_on(root: Path, bundle: Path, tmp_path: Path) -> None:
    """One of four evaluations fails; once its reason is gone, only it is done."""
    (root / "workflow").mkdir()
    answers = Path(shutil.copytree(bundle / "eval", tmp_path / "answers"))
    (root / "Snakefile").write_text(SNAKEFILE.replace("ANSWERS", str(answers)))
    (answers / "student/seed1").rename(tmp_path / "away")
    stream = io.StringIO()
    report = verify(bundle, "eval", checkout=root, stream=stream, jobs=2)
    assert report.exit_code == 1 and report.kinds() == {"not-replayed": 2}  # two eval seeds
    assert report.findings[0].path == "eval/student/seed1/results.tsv"
    assert report.findings[0].row == "exp_name=student_1, train_seed=1, eval_seed=0"
    assert report.findings[0].found == "logs/toy/evaluate/student/seed1.log"
    assert "4 evaluations (12 runs)" in stream.getvalue() and "cannot stat" in stream.getvalue()
    place = room_path(root, source_of(bundle), "eval")
    assert place.is_dir() and str(place) in report.notes[-1]
    (tmp_path / "away").rename(answers / "student/seed1")
    shutil.rmtree(answers / "baseline")
    again = verify(bundle, "eval", checkout=root, stream=stream, jobs=2)
    assert again.ok and again.replay is not None
    assert again.replay.counts() == {"bit-exact": 12, "within-tolerance": 0, "differs": 0, "not-replayed": 0}
    assert again.to_dict()["replay"]["runs"][0]["verdict"] == "bit-exact"
    assert not place.exists() and "goes on with the replay" in stream.getvalue()
