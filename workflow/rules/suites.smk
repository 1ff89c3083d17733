"""The suites of configs/suites as the rules see them: experiments, digests of what they are made of, files.

A broken suite stops only those who ask for it. Nothing is written to disk here.
"""

import inspect
import re
import sys
from functools import cache

from c2o_evidence.digests import json_digest
from c2o_evidence.errors import EvidenceError
from c2o_evidence.records import read_record
from c2o_evidence.suite import load_suite
from c2o_evidence.suite_gallery import gallery_checkpoints
from c2o_evidence.suite_parts import sharing
from c2o_evidence.suite_stack import lacking, others, twin_jobs

SUITES = sorted(path.stem for path in ROOT.glob("configs/suites/*.yaml"))
REDUCED = "_reduced"  # NAME_reduced: the suite NAME on a budget for tests
# A job is of a suite that the command line names, if it names any: no other one is read to plan it.
NAMED = [
    name for name in SUITES if any(name in argument for argument in sys.argv[1:])
] or SUITES


def asked_often(function):
    """Mark a function that Snakemake calls several times for each job.

    It looks up its parameters each time, which takes longer than the call; these are looked up once.
    """
    function.__signature__ = inspect.signature(function)
    return function


@cache
def read_suite(name):
    """The suite, or the error that says what is wrong with it."""
    try:
        return load_suite(name, ROOT)
    except EvidenceError as error:
        return error


def stop(error):
    """End Snakemake with a message.

    Not by an exception: Snakemake passes over those of input functions where the rule's output lies on disk.
    """
    sys.exit(f"Error: {error}")


def suite(name):
    """The suite of that name; a broken one ends Snakemake with its message."""
    found = read_suite(name)
    return stop(found) if isinstance(found, EvidenceError) else found


def suite_on(wildcards):
    """A suite on the data set of the wildcards. Any will do: a data set has its configuration file's name."""
    for form in ("", REDUCED):  # most are found without a reduced form being read
        for found in (read_suite(f"{name}{form}") for name in [*NAMED, *SUITES]):
            if getattr(found, "data_name", None) == wildcards.dataset:
                return found
    return stop(
        f"data/{wildcards.dataset}: no suite in configs/suites uses this data set"
    )


def recipe(wildcards):
    """The recipe of the checkpoint that the wildcards name."""
    try:
        return suite(wildcards.suite).recipe(wildcards.experiment, int(wildcards.seed))
    except EvidenceError as error:
        return stop(error)


@asked_often
def eval_digest(wildcards):
    """What decides an evaluation; Snakemake ends where it has rows of a stack that is not installed and is to be made."""
    chosen, experiment = suite(wildcards.suite), recipe(wildcards).experiment
    try:
        digest = chosen.eval_digest(experiment, int(wildcards.seed))
    except EvidenceError as error:
        return stop(error)
    if fault := lacking(others(chosen.rows_of(experiment))):
        place = Path(
            "results", chosen.name, "eval", experiment, f"seed{wildcards.seed}"
        )
        if not is_made(place, digest):
            return stop(f"{chosen.path}: {fault}")
    return digest


def is_made(place, digest):
    """Whether a result is there that its record says was decided by `digest`."""
    try:
        return digest in read_record(place / "record.json").parameters.values()
    except EvidenceError:
        return False


def results_digest(wildcards):
    """What decides all results TSVs of a suite, whatever its tables say about them."""
    return results_digest_of(wildcards.suite)


@cache
def results_digest_of(name):
    chosen = suite(name)
    return json_digest(
        {
            f"{name}/{seed}": chosen.eval_digest(name, seed)
            for name, seed in chosen.eval_jobs
        }
    )


def bundle_digest(wildcards):
    """What decides a bundle: the resolved suite with its titles, and all that went into its tables."""
    return bundle_digest_of(wildcards.suite)


@cache
def bundle_digest_of(name):
    chosen = suite(name)
    return json_digest({"suite": chosen.to_dict(), "tables": chosen.tables_digest()})


def checkpoint_of(suite_name, experiment, seed):
    return f"results/{suite_name}/train/{experiment}/seed{seed}/model.safetensors"


@asked_often
def init_of(wildcards):
    """The checkpoint that training starts from: one path, or none."""
    init = recipe(wildcards).init
    return checkpoint_of(wildcards.suite, init.experiment, init.seed) if init else []


@asked_often
def teacher_of(wildcards):
    teacher = recipe(wildcards).teacher
    return checkpoint_of(wildcards.suite, teacher.experiment, teacher.seed)


@asked_often
def data_of(wildcards):
    """The data manifest; nothing where a suite has no rows."""
    name = suite(wildcards.suite).data_name
    return f"data/{name}/manifest.json" if name else []


def timed_checkpoints(wildcards):
    """One checkpoint of each experiment that has rows: the timing section names the train seed."""
    chosen = suite(wildcards.suite)
    recipes = [
        chosen.recipe(name, chosen.timing.train_seed)
        for name in sorted(chosen.evaluated)
    ]
    return [checkpoint_of(wildcards.suite, r.experiment, r.seed) for r in recipes]


def shown_checkpoints(wildcards):
    """The checkpoints of the gallery's rows, of the first train seed."""
    chosen = gallery_checkpoints(suite(wildcards.suite))
    return [checkpoint_of(wildcards.suite, *checkpoint) for checkpoint in chosen]


def outputs_of(jobs, part, *names):
    """Input function: files NAMES in results/SUITE/PART of all `train_jobs` or `eval_jobs` of a suite."""
    return lambda wildcards: [
        f"results/{wildcards.suite}/{part}/{experiment}/seed{seed}/{name}"
        for experiment, seed in sorted(getattr(suite(wildcards.suite), jobs))
        for name in names
    ]


def twin_results(wildcards):
    """Results and detections of the evaluations that hold rows of other stacks and the core's beside them."""
    return [
        f"results/{wildcards.suite}/eval/{experiment}/seed{seed}/{name}"
        for experiment, seed in sorted(twin_jobs(suite(wildcards.suite)))
        for name in ("results.tsv", "detections.safetensors")
    ]


def if_any(section, path):
    """Input function: the file of what a suite may lack (`timing`, `attention`, `gallery`, `parity`)."""
    return lambda wildcards: (
        path.format(**wildcards) if getattr(suite(wildcards.suite), section) else []
    )


def note_of_freeze(wildcards):
    """The note that the deliverable was frozen just now; one that has outlived the deliverable is no use."""
    note = Path("results", wildcards.suite, "frozen")
    if note.exists() and not Path("deliverables", wildcards.suite).exists():
        stop(
            f"{note}: a run was killed, and what it froze is gone; delete this file and type the command again"
        )
    return str(note)


@asked_often
def chain_below(wildcards):
    """Priority of a training: the length of the chain of trainings behind it, so that the longest goes first."""
    return 100 + heights(wildcards.suite).get(wildcards.experiment, 0)


@cache
def heights(name):
    """The length of the chain behind each experiment that has one: children come after their parents in `needed`."""
    chosen, found = suite(name), {}
    for child in reversed(chosen.needed):
        spec = chosen.experiments[child]
        for parent in filter(None, (spec.init, spec.teacher)):
            found[parent] = max(found.get(parent, 0), 1 + found.get(child, 0))
    return found


@asked_often
def steps_sampled(wildcards):
    """Priority of an evaluation, below that of any training: its sampling steps, so that the longest does not come last."""
    rows = suite(wildcards.suite).rows_of(wildcards.experiment)
    return min(10 + sum(row.sample_step for row in rows), 90)


def in_an_experiment(wanted):
    """Whether `wanted(suite, experiment)` holds for one that may be planned; what cannot be read may.

    Where it holds for none, a rule has a number in place of a function, which Snakemake calls several times for each
    job.
    """
    planned = [read_suite(name) for name in NAMED]
    if NAMED is SUITES or any(isinstance(one, EvidenceError) for one in planned):
        return True
    try:
        return any(wanted(one, name) for one in planned for name in one.experiments)
    except EvidenceError:
        return True


@asked_often
def processes_of(wildcards):
    """Threads of a training or evaluation, one a process: as many as share a batch, or the most that divide them.

    Where a machine has fewer cores, that is; `--set-threads train=2` chooses another number.
    """
    parts = suite(wildcards.suite).experiment(wildcards.experiment).processes
    return sharing(parts, workflow.cores or parts)


THREADS = (
    processes_of
    if in_an_experiment(lambda suite, name: suite.experiment(name).processes > 1)
    else 1
)


@asked_often
def memory_of(wildcards, threads):
    """MB of a training or evaluation."""
    return 2000 * threads


def suites_where(taught):
    """Pattern of a suite's name before `/train/EXPERIMENT/` for experiments with a teacher, or without one.

    It keeps the rules `train` and `distill` apart. A broken suite counts as one without: its message comes
    when the suite is used.
    """
    patterns = []
    for name in NAMED:
        found = read_suite(name)
        if isinstance(found, EvidenceError):
            patterns += [] if taught else [f"{re.escape(name)}(?:{REDUCED})?"]
            continue
        fits = [e for e in found.experiments.values() if bool(e.teacher) == taught]
        names = "|".join(re.escape(e.name) for e in fits)
        patterns += (
            [f"{re.escape(name)}(?:{REDUCED})?(?=/train/(?:{names})/)"] if fits else []
        )
    return "|".join(patterns) or "(?!)"


def suite_list():
    """What can be built, as shown to who types `snakemake` alone."""
    lines = ["", "Type one of:"]
    for name in SUITES:
        found = read_suite(name)
        broken = isinstance(found, EvidenceError)
        about = f"broken: {found}" if broken else found.title
        lines.append(f"  snakemake deliverables/{name:<20} {about}")
    lines.append(f"  {'c2o run SUITE':<43} the same with progress and remaining time")
    lines.append(
        f"  {f'SUITE{REDUCED}':<43} in place of a suite: its jobs on a budget for tests"
    )
    return "\n".join([*lines, ""])


include: "gpus.smk"
include: "report.smk"
