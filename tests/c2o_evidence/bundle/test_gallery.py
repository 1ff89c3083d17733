"""The gallery of a bundle: read with care, and held against suite, annotations, data manifest and stored detections."""

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from c2o_evidence.digests import sha256_file
from c2o_evidence.errors import EvidenceError, SuiteError
from c2o_evidence.gallery import read_gallery, read_picture
from c2o_evidence.suite import Suite, load_resolved_suite, load_suite
from c2o_evidence.suite_gallery import GallerySpec, gallery_checkpoints
from c2o_evidence.verify.gallery import check_gallery
from c2o_evidence.verify.records import read_records

SUITE = "configs/suites/toy.yaml"


def digests(bundle: Path) -> dict[str, str]:
    return {p.relative_to(bundle).as_posix(): sha256_file(p) for p in bundle.rglob("*") if p.is_file()}


def check(bundle: Path, suite: Suite | None = None) -> tuple[list[str], list[str]]:
    """Findings and notes on a gallery whose digests and record fit, as those who forge it make them."""
    suite, found = suite or load_resolved_suite(bundle / "suite.yaml"), digests(bundle)
    findings, notes = check_gallery(bundle, suite, found, read_records(bundle, suite, found)[0])
    return [str(finding) for finding in findings], notes


def edit(bundle: Path, change: Callable[[Any], object], name: str = "gallery/gallery.json") -> None:
    document = json.loads((bundle / name).read_text())
    change(document)
    (bundle / name).write_text(json.dumps(document))


def nudge(boxes: list[list[float]]) -> None:
    boxes[0][0] += 0.001


def test_an_honest_gallery_holds(bundle) -> None:
    assert check(bundle) == ([], [])
    assert [picture["image_id"] for picture in read_gallery(bundle)["images"]] == [2, 5]


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (lambda d: d.update(rows=["base_1", "student_1"]), "row-edited: gallery/gallery.json: column rows"),
        (lambda d: d.update(eval_seed=1), "column eval_seed: does not follow"),
        (lambda d: d.update(train_seed=1), "column train_seed"),
        (lambda d: d["images"].reverse(), "row images: column image_id"),
        (lambda d: d["images"][0].update(image_id=3), "(expected [2, 5], found [3, 5])"),
        (lambda d: d["images"][1].update(source="6.png"), "row images[1]: column source"),
        (lambda d: d["images"][1].update(sha256="0" * 64), "stale: gallery/gallery.json: row images[1]: column sha256"),
        (lambda d: d["images"][0].update(source_sha256="0" * 64), "stale: gallery/gallery.json: column sha256"),
        (lambda d: d["images"][0].update(width=65), "has 64 x 64 px, not 65 x 64"),
        (lambda d: d["filmstrip"].update(image_id=5), "row filmstrip: column image_id"),
        (lambda d: d["attention"].update(exp_id="base_1"), "row attention: column exp_id"),
        (lambda d: d["filmstrip"]["steps"].pop(0), "row filmstrip.steps: column step"),
        (lambda d: d["filmstrip"]["steps"][1].update(time=999), "row filmstrip.steps: column time"),
        (lambda d: nudge(d["filmstrip"]["steps"][-1]["boxes"]), "the last step does not show what eval/baseline/seed0"),
        (lambda d: d["filmstrip"]["steps"][-1]["scores"].reverse(), "the last step does not show"),
        (lambda d: nudge(d["attention"]["nodes"]), "attention does not show what eval/student/seed0/detections"),
        (lambda d: d.update(format=2), "malformed: gallery/gallery.json: gallery/gallery.json: format: 2 is not"),
        (lambda d: d["filmstrip"]["steps"][0]["boxes"][0].append(1.0), "filmstrip.steps[0].boxes[0]:"),
        (lambda d: d["filmstrip"]["steps"][0]["scores"].append(0.5), "has not as many boxes as scores and classes"),
        (lambda d: d["attention"]["edges"].append([0, 9, 0.5]), "attention.edges[2]: does not lead"),
        (lambda d: d["attention"]["edges"].append([0, 1, 1.5]), "1.5 is out of range; use a value <= 1"),
        (lambda d: d["images"][0].update(file="../../x.png"), "images[0].file: '../../x.png' does not have"),
        (lambda d: d.update(more=1), "more: unknown key"),
    ],
)  # fmt: skip
def test_what_does_not_follow_is_named(bundle, change, finding) -> None:
    edit(bundle, change)
    findings, _ = check(bundle)
    assert any(finding in text for text in findings), findings


def test_a_score_that_is_no_number_is_refused(bundle) -> None:
    path = bundle / "gallery/gallery.json"
    for text in ("NaN", "1e999", "-1e999"):
        damaged = json.loads(path.read_text())
        damaged["attention"]["scores"][0] = "HERE"
        path.write_text(json.dumps(damaged).replace('"HERE"', text))
        with pytest.raises(EvidenceError, match="gallery.json: (is not JSON|attention.scores)"):
            read_gallery(bundle)
        path.write_text(json.dumps(damaged).replace('"HERE"', "0.5"))


def test_another_machine_is_a_note_and_no_finding(bundle) -> None:
    edit(bundle, lambda d: nudge(d["filmstrip"]["steps"][-1]["boxes"]))
    edit(bundle, lambda d: d["host"].update(hardware_id="0123456789ab"), "gallery/record.json")
    findings, notes = check(bundle)
    assert findings == []
    assert notes[0] == "gallery: the last step was not compared with eval/baseline/seed0: made on another machine"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, pixels: bytes, *more: bytes, end: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"") + end


PIXELS = zlib.compress(bytes((1 + 3 * 4) * 2))


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"<svg onload='x'/>", "is no PNG"),
        (png(5, 2, PIXELS), "has 5 x 2 px, not 4 x 2"),
        (png(4, 2, PIXELS)[:-6], "is damaged"),
        (png(4, 2, PIXELS[:-3]), "is cut off"),
        (png(4, 2, b"rubbish"), "is damaged"),
        (png(4, 2, zlib.compress(bytes(1 << 24))), "unpacks to more than 66 bytes"),
        (png(4, 2, PIXELS, chunk(b"tEXt", b"a\0b")), "holds more than pixels (tEXt)"),
        (png(4, 2, PIXELS, end=b"<script>"), "something follows it"),
    ],
)
def test_a_picture_that_a_page_must_not_show(tmp_path, data, fault) -> None:
    (tmp_path / "0.png").write_bytes(data)
    with pytest.raises(EvidenceError) as caught:
        read_picture(tmp_path / "0.png", 4, 2)
    assert fault in str(caught.value) and "0.png" in str(caught.value)


def test_a_whole_picture_is_handed_on(tmp_path) -> None:
    (tmp_path / "0.png").write_bytes(png(4, 2, PIXELS))
    assert read_picture(tmp_path / "0.png", 4, 2) == png(4, 2, PIXELS)
    large = zlib.compress(bytes((1 + 3 * 1024) * 512))
    (tmp_path / "1.png").write_bytes(png(1024, 512, large))
    assert len(read_picture(tmp_path / "1.png", 4096, 2048)) < 10_000, "scaled down to 1024 px"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{rows: [base_5], images: 2}", "gallery.rows[0]: 'base_5' is not a row; did you mean 'base_"),
        ("{rows: [base_1], images: 0}", "gallery.images: 0 is out of range; use a value >= 1"),
        ("{rows: [base_1], images: 7}", "gallery.images: 7 is more than the 6 images of val; ask for 6 or fewer"),
        ("{rows: [base_1, base_1], images: 1}", "gallery.rows: 'base_1' is listed twice"),
        ("{rows: [], images: 1}", "gallery.rows: has 0 entries"),
        ("{rows: [base_1]}", "gallery.images: is missing; add it"),
        ("{rows: [base_1], images: 1, seeds: 2}", "gallery.seeds: unknown key"),
    ],
)
def test_a_section_that_cannot_be_is_refused(root, section, message) -> None:
    text = (root / SUITE).read_text()
    (root / SUITE).write_text(text.replace("{rows: [base_4, student_1], images: 2}", section))
    with pytest.raises(SuiteError) as caught:
        load_suite("toy", root)
    assert f"{SUITE}: {message}" in str(caught.value)


def test_the_section_is_inherited_changed_and_left_out(root) -> None:
    for name, own, expected in (
        ("same", "", GallerySpec(("base_4", "student_1"), 2)),
        ("more", "gallery: {images: 3}\n", GallerySpec(("base_4", "student_1"), 3)),
        ("none", "gallery: null\n", None),
    ):
        (root / "configs" / "suites" / f"{name}.yaml").write_text(f"name: {name}\nextends: toy\n{own}")
        assert load_suite(name, root).gallery == expected
    toy, none = load_suite("toy", root), load_suite("none", root)
    assert gallery_checkpoints(toy) == [("baseline", 0), ("student", 0)] and gallery_checkpoints(none) == []
    assert "gallery" in toy.to_dict() and "gallery" not in none.to_dict()


def test_a_gallery_decides_nothing_else(root) -> None:
    """Trainings, evaluations, tables keep their digests; only that of the gallery follows its section."""
    (root / "configs" / "suites" / "more.yaml").write_text("name: more\nextends: toy\ngallery: {images: 3}\n")
    toy, more = load_suite("toy", root), load_suite("more", root)
    assert all(toy.recipe(*job).digest == more.recipe(*job).digest for job in toy.train_jobs)
    assert all(toy.eval_digest(*job) == more.eval_digest(*job) for job in toy.eval_jobs)
    assert (toy.timing_digest(), toy.tables_digest()) == (more.timing_digest(), more.tables_digest())
    assert toy.gallery_digest() != more.gallery_digest()
