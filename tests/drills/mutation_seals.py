"""How far a forger goes after an edit: which of the digests and files that no longer fit are made again.

none     nothing
sums     SHA256SUMS
lists    the sidecars, the RO-Crate metadata and SHA256SUMS: every list of digests that is no evidence of a job
digests  the digest and the size of every file, wherever they are written: records, tables, headers of checkpoints
plan     also what is derived: digests of the data set, of configurations, recipes and plans
all      also every file above the results: manifest, tables, figures, report, README, metadata
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from c2o_evidence.bundle import write_sha256sums
from c2o_evidence.crate import CRATE_NAME, write_crate
from c2o_evidence.digests import sha256_bytes, write_sidecar
from c2o_evidence.errors import EvidenceError
from c2o_evidence.figures import write_figures
from c2o_evidence.metrics import GroundTruth
from c2o_evidence.model_config import config_digest
from c2o_evidence.report import render_readme, render_report
from c2o_evidence.suite import Suite, load_resolved_suite
from c2o_evidence.sums import SUMS_NAME
from c2o_evidence.tables import write_manifest, write_tables
from c2o_evidence.tsv import read_tsv, write_tsv
from c2o_evidence.verify.plan import Plan
from c2o_evidence.verify.records import jobs_of, read_records
from c2o_evidence.yaml_file import load_yaml

SEALS = ("none", "sums", "lists", "digests", "plan", "all")
NO_EVIDENCE = (SUMS_NAME, CRATE_NAME)


def files_of(bundle: Path) -> dict[str, Path]:
    return {path.relative_to(bundle).as_posix(): path for path in sorted(bundle.rglob("*")) if path.is_file()}


def contents(bundle: Path) -> dict[str, bytes]:
    """All files but the lists of the whole bundle, which are written last."""
    return {name: path.read_bytes() for name, path in files_of(bundle).items() if name not in NO_EVIDENCE}


def facts(bundle: Path, *, derived: bool) -> dict[str, str]:
    """Every digest that somebody may have written down, by what it is the digest of."""
    known = {name: sha256_bytes(data) for name, data in contents(bundle).items()}
    return known | (dict(derived_digests(bundle, known)) if derived else {})


def derived_digests(bundle: Path, known: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Digests of data set, data configuration, configurations, recipes and plans, as they follow from the files."""
    with suppress(ValueError, KeyError, TypeError, FileNotFoundError):
        files = json.loads((bundle / "data/manifest.json").read_bytes())["files"]
        lines = "".join(f"{files[name]['sha256']}  {name}\n" for name in sorted(files))
        yield "data set", hashlib.sha256(lines.encode()).hexdigest()
    with suppress(EvidenceError):
        suite = load_resolved_suite(bundle / "suite.yaml")
        yield "data configuration", suite.data_digest()
        configs = {}
        for name, seed in suite.train_jobs:
            path = f"train/{name}/seed{seed}/config.yaml"
            configs[name, seed] = load_yaml(bundle / path, path)
            yield f"configuration {path}", config_digest(configs[name, seed])
        records, _ = read_records(bundle, suite, known)
        plan = Plan(suite, configs, records)
        for path in jobs_of(suite):
            if digest := plan.digest(path):
                yield f"plan {path}", digest


def refit(bundle: Path, before: dict[str, str], *, derived: bool) -> None:
    """Writes every new digest in the place of the old one, in every file, and sizes into records, until all fit.

    Digests have one length, so even the headers of checkpoints and detections stay whole.
    """
    for _ in range(30):
        resize(bundle)
        now = facts(bundle, derived=derived)
        moved = {before[name]: now[name] for name in before if name in now and now[name] != before[name]}
        before = now
        if not moved:
            return
        for name, data in contents(bundle).items():
            new = data
            for old_digest, digest in moved.items():
                new = new.replace(old_digest.encode(), digest.encode())
            if new != data:
                (bundle / name).write_bytes(new)
    raise AssertionError("the digests do not come to rest")


def resize(bundle: Path) -> None:
    """Puts the sizes of files into records."""
    for name, path in files_of(bundle).items():
        if name.endswith("record.json"):
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                document = json.loads(path.read_bytes())
                for file in [*document["materials"], *document["products"]]:
                    here = bundle / (file["path"] if file["base"] == "suite" else "data/manifest.json")
                    if here.is_file():
                        file["bytes"] = here.stat().st_size
                text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
                if text.encode() != path.read_bytes():
                    path.write_text(text)


def write_lists(bundle: Path) -> None:
    for name, path in files_of(bundle).items():
        if name.endswith("model.safetensors"):
            write_sidecar(path)
    with suppress(EvidenceError):  # where suite.yaml cannot be read, the metadata stay as they are
        suite = load_resolved_suite(bundle / "suite.yaml")
        (bundle / CRATE_NAME).unlink(missing_ok=True)
        write_crate(bundle, suite)
    write_sha256sums(bundle)


def evaluate_again(bundle: Path, suite: Suite) -> None:
    """Results that follow from the detections, and rows that follow from the suite."""
    from c2o_evidence.detections import read_detections

    truth = GroundTruth.load(bundle / "data/val.json")
    for name, seed in suite.eval_jobs:
        folder = bundle / f"eval/{name}/seed{seed}"
        steps = {row.exp_id: row.sample_step for row in suite.rows_of(name)}
        found = read_detections(folder / "detections.safetensors")
        rows = read_tsv(folder / "results.tsv", "results", strict=False)
        kept = [row for row in rows if row["exp_name"] in steps and row["eval_seed"] in suite.eval_seeds]
        for row in kept:
            row |= truth.evaluate(found[row["exp_name"], row["eval_seed"]], tuple(truth.class_names))
            row["sample_step"] = steps[row["exp_name"]]
        write_tsv(folder / "results.tsv", kept, "results")


def make_again(bundle: Path, before: dict[str, str]) -> None:
    """Everything above an edited file, by the very functions that made it."""
    suite = load_resolved_suite(bundle / "suite.yaml")
    manifest = json.loads((bundle / "data/manifest.json").read_bytes())
    if manifest["files"]["val.json"]["bytes"] != (size := (bundle / "data/val.json").stat().st_size):
        manifest["files"]["val.json"]["bytes"] = size
        (bundle / "data/manifest.json").write_text(json.dumps(manifest))
    evaluate_again(bundle, suite)
    refit(bundle, before, derived=True)
    before = facts(bundle, derived=True)
    write_tables(bundle, suite, bundle / "data")
    write_manifest(bundle, suite)
    write_figures(bundle, suite)
    (bundle / "README.md").write_text(render_readme(suite))
    refit(bundle, before, derived=True)
    (bundle / "report.html").write_text(render_report(bundle, suite))


def seal(bundle: Path, how: str, before: dict[str, str]) -> None:
    """Makes again what `how` says. `before`: the `facts` of the bundle before it was edited."""
    steps: dict[str, tuple[Callable[[], None], ...]] = {
        "none": (),
        "sums": (lambda: write_sha256sums(bundle) and None,),
        "lists": (lambda: write_lists(bundle),),
        "digests": (lambda: refit(bundle, before, derived=False), lambda: write_lists(bundle)),
        "plan": (lambda: refit(bundle, before, derived=True), lambda: write_lists(bundle)),
        "all": (lambda: make_again(bundle, before), lambda: write_lists(bundle)),
    }
    for step in steps[how]:
        step()
