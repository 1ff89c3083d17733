"""What runs again and what does not, asked of Snakemake by dry runs after a build with stub scripts."""

import os
from pathlib import Path

import pytest

TINY = "configs/suites/tiny.yaml"
# What follows whenever any result has changed.
AFTER_RESULTS = [
    "deliverables/tiny is complete",
    "draw the figures",
    "freeze deliverables/tiny",
    "index the results",
    "make the tables",
    "stage the bundle",
    "verify the bundle",
]
AFTER_TABLES = [job for job in AFTER_RESULTS if job != "index the results"]


def evaluations(*experiments: str, seeds: tuple[int, ...] = (0, 1)) -> list[str]:
    return [f"evaluate {experiment}, seed {seed}" for experiment in experiments for seed in seeds]


def test_a_moved_directory_has_nothing_to_do(built) -> None:
    assert built.planned() == []


def test_touched_files_and_a_fresh_checkout_have_nothing_to_do(built) -> None:
    """A checkout writes every tracked file anew, in any order; a backup restores results with any times."""
    for number, path in enumerate(sorted(built.path.rglob("*"), reverse=True)):
        if path.is_file() and ".snakemake" not in path.parts[:-1]:
            path.write_bytes(path.read_bytes())
            os.utime(path, (10**9 + number * 1000,) * 2)
    assert built.planned() == []


def test_comments_and_the_order_of_keys_change_nothing(built) -> None:
    built.edit(
        TINY,
        "name: tiny\ntitle: A suite for tests",
        "# new\ntitle: A suite for tests\nname: tiny",
    )
    with (built.path / "configs/models/digits/small.yaml").open("a") as stream:
        stream.write("# a comment\n")
    assert built.planned() == []


def test_a_changed_value_runs_what_depends_on_it_and_nothing_else(built) -> None:
    built.edit(
        TINY,
        "warmstart.yaml, init: baseline, opts: {SOLVER.MAX_ITER: 6}",
        "warmstart.yaml, init: baseline, opts: {SOLVER.MAX_ITER: 7}",
    )
    trainings = [f"{job}, seed {seed}" for job in ("distill student", "train warmstart") for seed in (0, 1)]
    assert built.planned() == sorted(
        [*AFTER_RESULTS, *evaluations("warmstart", "student"), *trainings, "time inference", "make the gallery"]
    )


def test_a_changed_base_of_a_model_file_runs_every_training(built) -> None:
    built.edit("configs/models/digits/small.yaml", "NUM_PROPOSALS: 32", "NUM_PROPOSALS: 24")
    jobs = built.planned()
    assert len([job for job in jobs if job.startswith(("train ", "distill "))]) == 7
    assert "generate data set digits_mini" not in jobs and "time attention kernels" not in jobs


def test_other_eval_seeds_evaluate_but_do_not_train(built) -> None:
    built.edit(TINY, "eval_seeds: [0, 1]", "eval_seeds: [0, 1, 2]")
    expected = [*AFTER_RESULTS, *evaluations("baseline", "warmstart", "student"), "make the gallery"]
    assert built.planned() == sorted(expected)


def test_another_train_seed_adds_its_own_jobs(built) -> None:
    built.edit(TINY, "train_seeds: [0, 1]", "train_seeds: [0, 1, 2]")
    own = ["train baseline, seed 2", "train warmstart, seed 2", "distill student, seed 2"]
    seed_2 = evaluations("baseline", "warmstart", "student", seeds=(2,))
    assert built.planned() == sorted([*AFTER_RESULTS, *own, *seed_2])


def test_a_changed_table_runs_tables_and_what_follows(built) -> None:
    built.edit(TINY, "method: Student", "method: The student")
    assert built.planned() == sorted(AFTER_TABLES)


def test_changed_test_time_options_of_a_row_evaluate_its_experiment(built) -> None:
    built.edit(TINY, "experiment: baseline, sample_step: 1", "experiment: baseline, sample_step: 2")
    assert built.planned() == sorted([*AFTER_RESULTS, *evaluations("baseline"), "time inference"])


@pytest.mark.parametrize(
    ("source", "runs", "runs_not"),
    [
        ("c2o_model/training/run.py", "train backbone, seed 0", "generate data set digits_mini"),
        ("c2o_model/modeling/head.py", "train baseline, seed 1", "time attention kernels"),
        ("c2o_model/data/scene.py", "generate data set digits_mini", "time attention kernels"),
        ("c2o_model/evaluation/run.py", "evaluate student, seed 0", "train backbone, seed 0"),
        ("c2o_model/evaluation/timing.py", "time inference", "evaluate student, seed 0"),
        ("c2o_model/graph/attention.py", "time attention kernels", "generate data set digits_mini"),
        ("c2o_model/gallery/build.py", "make the gallery", "evaluate student, seed 0"),
    ],
)
def test_changed_sources_run_the_jobs_that_use_them(built, source: str, runs: str, runs_not: str) -> None:
    with (built.path / source).open("a") as stream:
        stream.write("\nCHANGED = True\n")
    jobs = built.planned()
    assert runs in jobs and runs_not not in jobs and "freeze deliverables/tiny" in jobs


def test_a_crash_between_a_training_and_its_descendants_leaves_nothing_stale(built) -> None:
    """With mtimes off, only the parents' digests in the parameters tell that a descendant is out of date."""
    built.edit(
        TINY,
        "init: backbone, opts: {SOLVER.MAX_ITER: 6}",
        "init: backbone, opts: {SOLVER.MAX_ITER: 8}",
    )
    for seed in (0, 1):  # as if the machine had gone down right after these
        built.build(f"results/tiny/train/baseline/seed{seed}/model.safetensors")
    trainings = [f"{job}, seed {seed}" for job in ("distill student", "train warmstart") for seed in (0, 1)]
    assert built.planned() == sorted(
        [
            *AFTER_RESULTS,
            *evaluations("baseline", "warmstart", "student"),
            *trainings,
            "time inference",
            "make the gallery",
        ]
    )
    built.build()
    assert built.planned() == []


def test_a_deleted_result_is_made_again_with_what_it_needs(built) -> None:
    (built.path / "results/tiny/tables/summary.tsv").unlink()
    (built.path / "deliverables/tiny/SHA256SUMS").unlink()
    (built.path / "deliverables/tiny/.snakemake_timestamp").unlink()
    (built.path / "deliverables/tiny").rmdir()
    assert built.planned() == ["deliverables/tiny is complete", "freeze deliverables/tiny"], "the bundle is still there"


def test_planning_writes_nothing_but_snakemakes_own_files(fresh) -> None:
    def tree() -> set[Path]:
        found = {path.relative_to(fresh.path) for path in fresh.path.rglob("*")}
        return {path for path in found if path.parts[0] != ".snakemake" and "__pycache__" not in path.parts}

    before = tree()
    assert len(fresh.planned()) == 24
    assert tree() == before
