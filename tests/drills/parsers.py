# ruff: noqa: E501  (a table: one parser an entry)
"""Every function of c2o_evidence that reads bytes from outside, with a valid file and the errors it may raise.

`PARSERS` is what is fuzzed; `NOT_PARSERS` (not_parsers.py) names the functions that open files and are none, each with the reason. A
test holds the two against the source: a reader that is in neither fails it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from c2o_evidence import (
    checkpoint_header,
    crate,
    digests,
    freeze,
    ledger,
    manifest,
    model_config,
    progress,
    records,
    run_lock,
    show,
    suite,
    trained,
    tsv,
    yaml_file,
)
from c2o_evidence.adopt import data_set, frozen, reasons
from c2o_evidence.annotations import load_ground_truth
from c2o_evidence.cluster.naming import writes_in
from c2o_evidence.cluster.queue import parse_queue
from c2o_evidence.datasets import coco_file, odgt_file, voc_files
from c2o_evidence.datasets.pictures import Picture, picture_fault
from c2o_evidence.detections import read_detections, read_detections_metadata
from c2o_evidence.diff import sides
from c2o_evidence.digest_cache import DigestCache, file_state
from c2o_evidence.doctor.versions import locked_versions
from c2o_evidence.foreign.reader import read_foreign
from c2o_evidence.gallery import read_gallery, read_picture
from c2o_evidence.garbage import find
from c2o_evidence.live import failures
from c2o_evidence.model_config import flat
from c2o_evidence.predict.model import read_data_set
from c2o_evidence.published.markers import read_lines
from c2o_evidence.report import read_svg, truth
from c2o_evidence.snakelog import SnakemakeLog
from c2o_evidence.sums import parse_sums
from c2o_evidence.verify import files, gallery, naming, own_files, pictures, runs, tables
from c2o_evidence.verify.replay import room, source, workflow
from tests import fabricated_sets
from tests.drills.sandbox import DETECTIONS, MODEL, RECORD, RESULTS, honest

NO = "0" * 64
FOREIGN = b"train_seed\texp_name\teval_seed\tAP\n0\ta\t0\t41.5\n0\ta\t1\t42.5\n1\ta\t0\t43.25\n"
PROGRESS = {"iteration": 3, "total": 9, "loss": 1.5, "seconds_per_iteration": 0.1, "eta_s": 1.0, "pid": 1}
QUEUE = "17\x1fPENDING\x1fme\x1fc2o-x-0123456789ab_1\x1fPriority\x1f/home/me/c2o\x1frule_train\n18\x1fRUNNING\x1fme\x1fy\x1fNone\x1f/\x1f\n"
LOG = """\
Provided cores: 2
total      3
rule train:
    input: a
    jobid: 4
    wildcards: experiment=x, seed=0
Job 5: evaluate x
Finished jobid: 4 (Rule: train)
1 of 3 steps (33%) done
Error in rule train:
    jobid: 5
    log: logs/a.log (check log file(s) for error details)
Error: nothing
"""


@dataclass(frozen=True)
class Parser:
    """One reader. `read(path)` may raise EvidenceError alone, naming the file if `names`; nothing if not `raises`.

    `covers`: the functions of c2o_evidence that open the file; `place`: where it must lie, below the directory that is
    handed to `read` as `path`'s first `depth` parents.
    """

    name: str
    valid: Callable[[], bytes]
    read: Callable[[Path], Any]
    covers: tuple[str, ...]
    place: str = "file"
    raises: bool = True


def of(name: str) -> Callable[[], bytes]:
    """A file of the honest bundle."""
    return lambda: (honest() / name).read_bytes()


@cache
def sets() -> Path:
    """Tiny copies of public data sets."""
    root = honest().parent / "sets"
    for build in (fabricated_sets.lvis, fabricated_sets.voc, fabricated_sets.crowdhuman, fabricated_sets.objects365):
        build(root, images=2)
    fabricated_sets.extra(root, images=1)
    return root


def from_set(name: str) -> Callable[[], bytes]:
    """A file of a data set."""
    return lambda: (sets() / name).read_bytes()


def up(path: Path, place: str) -> Path:
    """The directory that `place` is relative to."""
    return path.parents[place.count("/")]


def _beside(path: Path, *names: str) -> Path:
    """Other files of the honest bundle put beside the fuzzed one; the directory."""
    for name in names:
        target = path.parent / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(honest() / name, target)
    return path.parent


def _suite() -> suite.Suite:
    return suite.load_resolved_suite(honest() / "suite.yaml")


def _log(path: Path) -> SnakemakeLog:
    log = SnakemakeLog()
    for line in path.read_bytes().decode("utf-8", "replace").split("\n"):
        log.feed(line)
    [str(job) for job in (*log.running.values(), *log.failed)]
    return log


def _sidecar(path: Path) -> str:
    (path.parent / "model").write_bytes(b"x")
    return digests.read_sidecar(path.parent / "model")


def _annotations(path: Path) -> dict[str, float]:
    truth = load_ground_truth(path)
    for detections in read_detections(honest() / DETECTIONS).values():
        return truth.evaluate(detections)
    raise AssertionError


def _entry(path: Path) -> object:
    for name in trained.FILES:
        (path.parent / name).write_bytes(b"x")
    return trained.TrainedStore(path.parents[1]).find(path.parent.name)


def _trained() -> bytes:
    texts = {"suite": "a", "experiment": "b", "seed": "0"}
    entry = {"files": dict.fromkeys(trained.FILES, NO), "origin": texts, "nondeterminism": [], "attention": ["dense"]}
    return json.dumps(entry).encode()


def _cache(path: Path) -> bool:
    state = file_state(honest() / "README.md")
    assert state is not None
    with DigestCache(path) as cache:
        return cache.agrees(state, NO)


def _cached() -> bytes:
    place = honest().parent / "cache"
    state = file_state(honest() / "README.md")
    assert state is not None
    with DigestCache(place) as cache:
        cache.learn(honest() / "README.md", state, NO, 1 << 62)
    return place.read_bytes()


def _layout(path: Path) -> Any:
    toy = _suite()
    return SimpleNamespace(
        path=lambda _: path,
        suite=toy,
        root=path.parent,
        bundle=path.parent,
        there=lambda _: True,
        digests={},
        witness=None,
    )


def _job() -> Any:
    return SimpleNamespace(place="train/baseline/seed0", kind="train")


def _source(path: Path) -> source.Source:
    from c2o_evidence.digests import sha256_bytes

    return source.Source(path.parents[1], _suite(), {"data/manifest.json": sha256_bytes(path.read_bytes())}, NO)


def _rows(schema: str) -> bytes:
    values = {"int": 1, "float": 0.5, "str": "x", "path": "a/b", "sha256": NO}
    columns = tsv.tsv_schema(schema).columns
    row = {c.name: c.choices[0] if c.choices else values[c.kind] for c in columns}
    row |= {"ckpt_sha256s": NO} if schema == "results_manifest" else {"state": "current"}
    row = {name: row[name] for name in (c.name for c in columns)}
    return tsv.format_tsv([row], schema).encode()


TABLES = {
    "results": RESULTS,
    "summary": "tables/summary.tsv",
    "main": "tables/main.tsv",
    "comparisons": "tables/comparisons.tsv",
    "manifest": "manifest.tsv",
    "timing": "timing/timing.tsv",
    "attention": "attention/attention.tsv",
    "curve": "train/baseline/seed0/curve.tsv",
}
SETS = {
    "coco": "coco/annotations/instances_val2017.json",
    "repro10k": "coco/annotations/instances_val2017.json",
    "lvis": "lvis/lvis_v1_val.json",
    "objects365": "objects365/annotations/zhiyuan_objv2_val.json",
}
CONFIG = "train/baseline/seed0/config.yaml"
SUITE = "configs/suites/toy.yaml"


def _repository(path: Path) -> Path:
    root = up(path, SUITE)
    for name in ("data", "models"):
        shutil.copytree(honest().parents[2] / "configs" / name, root / "configs" / name, dirs_exist_ok=True)
    return root


PARSERS = (
    Parser("sums", of("SHA256SUMS"), lambda path: parse_sums(path.read_bytes()), (), raises=False),
    Parser("sums to freeze", of("SHA256SUMS"), lambda path: freeze._sums(path.parent), ("freeze._sums",), "SHA256SUMS"),
    Parser("sums to adopt", of("SHA256SUMS"), lambda path: frozen._read_sums(path.parent), ("adopt.frozen._read_sums",),
           "SHA256SUMS", raises=False),
    Parser("sums of a bundle", of("SHA256SUMS"), lambda path: files.check_files(path.parent),
           ("verify.files.check_files", "verify.files._check_sidecars", "verify.files.hash_file"), "SHA256SUMS", raises=False),
    Parser("sidecar", lambda: f"{NO}  model\n".encode(), _sidecar, ("digests.read_sidecar",), "model.sha256"),
    Parser("digest", of("README.md"), digests.sha256_file, ("digests.sha256_file",)),
    *(Parser(f"tsv {name}", of(place), partial(tsv.read_tsv, schema=name), ("tsv.read_tsv",)) for name, place in TABLES.items()),
    Parser("ledger", partial(_rows, "deliverables"), ledger.read_ledger, ("tsv.read_tsv",)),
    Parser("results manifest", partial(_rows, "results_manifest"), manifest.read_results_manifest, ("tsv.read_tsv",)),
    Parser("record", of(RECORD), records.read_record, ("records.read_record",)),
    Parser("seconds of a record", of(RECORD), progress.recorded_seconds, ("progress.recorded_seconds",), raises=False),
    Parser("times of a crate", of(RECORD), lambda path: crate._times(path.parent), ("crate._times",), "record.json",
           raises=False),
    Parser("progress", lambda: json.dumps(PROGRESS).encode(), lambda path: progress.read_progress(path.parents[2]),
           ("progress.read_progress",), "exp/seed0/progress.json", raises=False),
    Parser("snakemake log", LOG.encode, _log, (), raises=False),
    Parser("host of a training", lambda: b"node7\n", lambda path: progress.still_runs(path.with_name("progress.json"), 1, 0.1),
           ("progress.still_runs",), "progress.host", raises=False),
    Parser("queue of SLURM", QUEUE.encode, lambda path: [writes_in(job, path) for job in parse_queue(path.read_bytes().decode("utf-8", "replace"))],
           (), raises=False),
    Parser("end of a log", LOG.encode, failures.last_lines, ("live.failures.last_lines",), raises=False),
    Parser("trained", _trained, _entry, ("trained._entry",), "key/entry.json", raises=False),
    Parser("digest cache", _cached, _cache, ("digest_cache.DigestCache._open",), raises=False),
    Parser("run lock", lambda: b"12 34\n", lambda path: run_lock.last_holder(path.parents[1]), ("run_lock.last_holder",),
           ".snakemake/c2o.lock", raises=False),
    Parser("lock file", lambda: b"numpy==2.0\n", locked_versions, ("doctor.versions.locked_versions",), raises=False),
    Parser("yaml", of("suite.yaml"), lambda path: yaml_file.load_yaml(path, path.name), ("yaml_file.load_yaml",)),
    Parser("model configuration", of(CONFIG), lambda path: model_config.config_digest(
        model_config.merge_config(path, path.parent)), ("model_config._load",)),
    Parser("resolved suite", of("suite.yaml"), suite.load_resolved_suite, ("suite_check.read_resolved",)),
    Parser("suite", lambda: (honest().parents[2] / SUITE).read_bytes(), lambda path: suite.load_suite("toy", _repository(path)),
           ("suite_check._chain",), SUITE),
    Parser("checkpoint header", of(MODEL), checkpoint_header.read_metadata, ("checkpoint_header._read_header",)),
    Parser("weights", of(MODEL), checkpoint_header.weights_digest, ("checkpoint_header.weights_digest",)),
    Parser("detections", of(DETECTIONS), read_detections, ("detections.read_detections", "detections._open")),
    Parser("detections metadata", of(DETECTIONS), read_detections_metadata, ("detections._open",)),
    Parser("annotations", of("data/val.json"), _annotations, ("annotations.read_annotations",)),
    Parser("annotations of a page", of("data/val.json"), lambda path: truth.read_truth(path, {1, 2}),
           ()),
    Parser("data manifest", of("data/manifest.json"), lambda path: runs.data_digest(path.parents[1], _suite(), {}),
           ("verify.runs.read_json",), "data/manifest.json", raises=False),
    Parser("data manifest to adopt", of("data/manifest.json"), lambda path: data_set._manifest(_layout(path)),
           ("adopt.data_set._manifest",), "data/manifest.json", raises=False),
    Parser("data manifest to replay", of("data/manifest.json"), lambda path: _source(path).data_files(),
           ("verify.replay.source.Source.read",), "data/manifest.json"),
    Parser("verdict to adopt", lambda: b'{"verified": true, "level": "tables", "root_digest": ""}',
           lambda path: frozen._verification(_layout(path), True, True), ("freeze.verified_root",), raises=False),
    Parser("configuration to adopt", of(CONFIG), lambda path: list(reasons._changed_keys(
        flat(yaml_file.load_yaml(path, path.name)), {})), ("adopt.reasons._training",)),
    Parser("crate sizes", of("ro-crate-metadata.json"), lambda path: naming.said_sizes(
        path.parent, {path.name: NO}, {path.name: NO}), ("verify.naming.said_sizes",), "ro-crate-metadata.json", raises=False),
    Parser("own files", of("ro-crate-metadata.json"), lambda path: own_files.check_own(
        _beside(path, "README.md"), _suite(), dict.fromkeys((path.name, "README.md"), NO)),
        ("verify.own_files.check_own", "verify.own_files.written_here",), "ro-crate-metadata.json", raises=False),
    Parser("lock of a bundle", lambda: b"matplotlib==3.9 \\\n", lambda path: pictures._locked(path.parents[1], "matplotlib"),
           ("verify.pictures._locked",), "environment/lock.txt", raises=False),
    Parser("png", of("figures/loss_curves.png"), lambda path: list(pictures._compare(
        path.parents[1], {path.name: of("figures/loss_curves.png")()}, {f"figures/{path.name}": NO})),
        ("verify.pictures._compare",), "figures/loss_curves.png", raises=False),
    Parser("svg", of("figures/loss_curves.svg"), lambda path: read_svg(path.parents[1], "loss_curves"), ("report.inline.read_svg",),
           "figures/loss_curves.svg"),
    Parser("text of a bundle", of("manifest.tsv"), lambda path: tables._Check._text(
        SimpleNamespace(root=path.parent, digests={path.name: NO}), path.name), ("verify.tables._Check._text",), raises=False),
    Parser("configurations of a bundle", of(CONFIG), lambda path: tables._Check._read_configs(SimpleNamespace(
        root=up(path, CONFIG), suite=_suite(), digests={CONFIG: NO}, add=lambda *_: None, _shorten=str)),
        ("verify.tables._Check._read_configs",), CONFIG, raises=False),
    Parser("gallery", of("gallery/gallery.json"), lambda path: read_gallery(path.parents[1]), ("gallery.read_gallery",),
           "gallery/gallery.json"),
    Parser("gallery of a bundle", of("data/val.json"), lambda path: gallery._annotated(path.parents[1], {"data/val.json": NO}),
           (), "data/val.json", raises=False),
    Parser("picture of a gallery", of("gallery/images/0.png"), lambda path: read_picture(path, 64, 64),
           ("gallery.read_picture",)),
    Parser("data set of a prediction", of("data/val.json"), lambda path: read_data_set(path.parent),
           (), "val.json"),
    Parser("a record that says how long", of(RECORD), lambda path: workflow._timed(
        SimpleNamespace(root=path.parent), SimpleNamespace(record=path), SimpleNamespace(results=path.parent)),
        ("verify.replay.workflow._timed",), raises=False),
    Parser("key of a room", lambda: b"{}\n", lambda path: room._is_of(path.parent, "{}\n"), ("verify.replay.room._is_of",),
           "room.json", raises=False),
    Parser("foreign TSV", lambda: FOREIGN, lambda path: read_foreign([path]), ("foreign.reader._lines",)),
    Parser("page with tables", lambda: b"# A\n\ntext\n", lambda path: read_lines(path, path.name),
           ("published.markers.read_lines",)),
    Parser("side of a comparison", of(RESULTS), lambda path: sides.load(str(path), path.parent), ("diff.sides.load",)),
    Parser("bundle of a comparison", of("SHA256SUMS"), lambda path: sides.load(str(path.parent), path.parent),
           ("diff.sides._load_bundle",), "SHA256SUMS"),
    Parser("store entry to clear", lambda: b'{"files": {"model.safetensors": ""}}\n', lambda path: find._entry_needed(
        path.parent, SimpleNamespace(recipes=set(), checkpoints=set())), ("garbage.find._entry_needed",), "entry.json",
        raises=False),
    Parser("progress to clear", lambda: json.dumps(PROGRESS).encode(), lambda path: find._alive(path),
           ("garbage.find._alive",), "progress.json", raises=False),
    *(Parser(f"{kind} of a data set", from_set(place), partial(coco_file.read_coco, kind=kind),
             ("datasets.json_stream.JsonStream.events", "datasets.json_stream.open_set_file")) for kind, place in SETS.items()),
    Parser("odgt of a data set", from_set("crowdhuman/annotation_val.odgt"), odgt_file.read_odgt,
           ("datasets.odgt_file.read_odgt",)),
    Parser("list of a data set", from_set("VOC2007/ImageSets/Main/val.txt"), lambda path: voc_files.read_voc(
        path, ("000005.jpg",)), ("datasets.voc_files.read_list",), "VOC2007/ImageSets/Main/val.txt"),
    Parser("xml of a data set", from_set("VOC2007/Annotations/000005.xml"), voc_files.read_annotation,
           ("datasets.voc_files.read_annotation",), raises=False),
    *(Parser(f"{place.rpartition('.')[2]} of a data set", from_set(place), lambda path: picture_fault(
        Picture(path, 0, 0)), ("datasets.pictures.picture_fault",), raises=False)
      for place in ("VOC2007/JPEGImages/000005.jpg", "cells/val/0.png")),
    *(Parser(f"show {place.rpartition('.')[2]}", of(place), show._show_file, ("show._read",), place)
      for place in (RESULTS, RECORD, MODEL)),
)  # fmt: skip
