"""The jobs of a suite as files: what each makes, what it reads, and the digest its record has to name.

The same jobs as workflow/rules has; tests/workflow/test_adopt.py compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from c2o_evidence.bundle import DETAIL_FILES, EVAL_FILES, TRAIN_FILES, figure_files, table_files
from c2o_evidence.extent import NOW, Extent
from c2o_evidence.suite import Suite
from c2o_evidence.suite_gallery import gallery_checkpoints
from c2o_evidence.suite_stack import twin_jobs

CHECKPOINT, SIDECAR = TRAIN_FILES[0], TRAIN_FILES[1]


@dataclass(frozen=True)
class SuiteJob:
    """A job. All paths are relative to the repository.

    `note`: the output that stands for the job in Snakemake's notes; `digest`: what its record names, None for a job
    that leaves no record.
    """

    kind: str
    place: str
    title: str
    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    parents: tuple[str, ...]
    note: str
    digest: str | None = None

    @property
    def record(self) -> str | None:
        """Path of the record, if the job leaves one."""
        return next((path for path in self.outputs if path.endswith("/record.json")), None)


def suite_jobs(suite: Suite, extent: Extent = NOW) -> list[SuiteJob]:
    """All jobs behind `deliverables/SUITE`, parents first. `place` (`train/EXP/seedS`, `tables`, …) names a job.

    `extent`: what there is beside what the suite tells.

    Raises:
        SuiteError: a model file is wrong.
    """
    return [*_data(suite), *_trainings(suite), *_evaluations(suite), *_measurements(suite), *_summaries(suite, extent)]


def data_manifest(suite: Suite) -> str:
    """Path of the data manifest of a suite that has rows."""
    return f"data/{suite.data_name}/manifest.json"


def _data(suite: Suite) -> Iterator[SuiteJob]:
    if suite.data_name:
        path = data_manifest(suite)
        yield SuiteJob("data", "data", f"data set {suite.data_name}", (path,), (), (), path)


def _trainings(suite: Suite) -> Iterator[SuiteJob]:
    for experiment, seed in suite.train_jobs:
        recipe = suite.recipe(experiment, seed)
        parents = [parent for parent in (recipe.init, recipe.teacher) if parent is not None]
        places = list(dict.fromkeys(f"train/{parent.experiment}/seed{parent.seed}" for parent in parents))
        place = f"train/{experiment}/seed{seed}"
        yield SuiteJob(
            "train",
            place,
            f"training of {experiment}, seed {seed}",
            _below(suite, place, *TRAIN_FILES),
            (data_manifest(suite), *(path for parent in places for path in _below(suite, parent, CHECKPOINT))),
            ("data", *places),
            f"results/{suite.name}/{place}/{CHECKPOINT}",
            recipe.digest,
        )


def _evaluations(suite: Suite) -> Iterator[SuiteJob]:
    for experiment, seed in suite.eval_jobs:
        trained, place = f"train/{experiment}/seed{seed}", f"eval/{experiment}/seed{seed}"
        yield SuiteJob(
            "eval",
            place,
            f"evaluation of {experiment}, seed {seed}",
            _below(suite, place, *EVAL_FILES),
            (data_manifest(suite), *_below(suite, trained, CHECKPOINT, SIDECAR)),
            ("data", trained),
            f"results/{suite.name}/{place}/{EVAL_FILES[0]}",
            suite.eval_digest(experiment, seed),
        )


def _measurements(suite: Suite) -> Iterator[SuiteJob]:
    if suite.timing is not None:
        recipes = [suite.recipe(name, suite.timing.train_seed) for name in sorted(suite.evaluated)]
        places = [f"train/{recipe.experiment}/seed{recipe.seed}" for recipe in recipes]
        models = [path for place in places for path in _below(suite, place, CHECKPOINT)]
        yield _measurement(suite, "timing", suite.timing_digest(), [data_manifest(suite), *models], ["data", *places])
    if suite.attention is not None:
        yield _measurement(suite, "attention", suite.attention_digest(), [], [])
    if suite.gallery is not None:
        places = [f"train/{name}/seed{seed}" for name, seed in gallery_checkpoints(suite)]
        inputs = [data_manifest(suite), *(path for place in places for path in _below(suite, place, CHECKPOINT))]
        outputs = _below(suite, "gallery", *suite.gallery.files)
        yield SuiteJob("gallery", "gallery", "gallery", outputs, tuple(inputs), ("data", *places), outputs[0],
                       suite.gallery_digest())  # fmt: skip

    if suite.parity:
        places = [f"eval/{name}/seed{seed}" for name, seed in twin_jobs(suite)]
        results = [path for place in places for path in _below(suite, place, *EVAL_FILES[:2])]
        inputs = [data_manifest(suite), *results]
        yield _measurement(suite, "parity", suite.parity_digest(), inputs, ["data", *places])


def _measurement(suite: Suite, part: str, digest: str, inputs: list[str], parents: list[str]) -> SuiteJob:
    outputs = _below(suite, part, f"{part}.tsv", "record.json")
    return SuiteJob(part, part, part, outputs, tuple(inputs), tuple(parents), outputs[0], digest)


def _summaries(suite: Suite, extent: Extent) -> Iterator[SuiteJob]:
    trained = tuple(f"train/{name}/seed{seed}" for name, seed in suite.train_jobs)
    evaluated = tuple(f"eval/{name}/seed{seed}" for name, seed in suite.eval_jobs)
    timing = ("timing",) if suite.timing is not None else ()
    attention = ("attention",) if suite.attention is not None else ()
    gallery = ("gallery",) if suite.gallery is not None else ()
    parity = ("parity",) if suite.parity else ()
    results = tuple(path for place in evaluated for path in _below(suite, place, *EVAL_FILES[:2]))
    times = _below(suite, "timing", "timing.tsv") if timing else ()
    tables = _below(suite, "tables", *table_files())
    data = ("data",) if suite.data_name else ()
    described = (data_manifest(suite),) if data else ()
    yield SuiteJob(
        "tables", "tables", "tables", tables, (*results, *times, *described), (*data, *evaluated, *timing),
        tables[0], suite.tables_digest(),
    )  # fmt: skip
    figures = figure_files(suite, extent)
    folder, curves = f"results/{suite.name}/figures", [f"{place}/curve.tsv" for place in trained]
    drawn_from = [*(f"tables/{name}.tsv" for name in ("runs", "summary", "comparisons")), *curves]
    drawn_from += ["attention/attention.tsv"] if attention else []
    drawn_from += [f"tables/{name}" for name in DETAIL_FILES]
    yield SuiteJob(
        "figures", "figures", "figures", _below(suite, "figures", *figures), _below(suite, "", *drawn_from),
        ("tables", *attention, *trained), folder,
    )  # fmt: skip
    index = f"results/{suite.name}/manifest.tsv"
    yield SuiteJob("manifest", "manifest", "index of the results", (index,), (), evaluated, index)
    sums, report = f"results/{suite.name}/bundle/SHA256SUMS", f"results/{suite.name}/verify.json"
    everything = ("tables", "figures", "manifest", *trained, *evaluated, *timing, *attention, *gallery, *parity)
    yield SuiteJob("bundle", "bundle", "staged bundle", (sums,), (), (*data, *everything), sums)
    yield SuiteJob("verify", "verify", "verification of the bundle", (report,), (), ("bundle",), report)
    frozen = f"deliverables/{suite.name}"
    yield SuiteJob("deliver", "deliver", frozen, (f"{frozen}/SHA256SUMS",), (), ("bundle", "verify"), frozen)


def _below(suite: Suite, place: str, *names: str) -> tuple[str, ...]:
    return tuple(f"results/{suite.name}/{place}/{name}".replace("//", "/") for name in names)
