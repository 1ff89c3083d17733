"""What is shown of a build follows from the plan, from what Snakemake says, and from the files of its jobs."""

import json
import os
from pathlib import Path

import pytest

from c2o_evidence.live.ending import partial, print_result
from c2o_evidence.live.estimate import Watcher, ap_of
from c2o_evidence.live.failures import explain_failure, failure_of
from c2o_evidence.live.notes import JobKey
from c2o_evidence.progress import Job
from c2o_evidence.snakelog import JobBlock, SnakemakeLog

KEYS = {name: JobKey(rule, "toy", "base", seed) for name, rule, seed in (
    ("train0", "train", "0"), ("train1", "train", "1"), ("eval0", "evaluate", "0"), ("eval1", "evaluate", "1"),
)}  # fmt: skip
TIMING = JobKey("timing", "toy")
COSTS = {"train": 100.0, "eval": 20.0, "timing": 30.0}
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def jobs(root: Path) -> list[Job]:
    places = [("train", 0), ("train", 1), ("eval", 0), ("eval", 1), ("timing", 0)]
    made = []
    for stage, seed in places:
        name = "" if stage == "timing" else "base"
        record = root / "results/toy" / stage / name / f"seed{seed}" / "record.json"
        made.append(Job(stage, name, seed, record, 200, COSTS[stage]))
    return made


def planned(*keys: JobKey) -> SnakemakeLog:
    counts: dict[str, int] = {}
    for key in keys:
        counts[key.rule] = counts.get(key.rule, 0) + 1
    return SnakemakeLog(cores=2, total=len(keys), counts=counts, plan=set(keys))


def began(log: SnakemakeLog, jobid: str, key: JobKey, message: str, ago: float = 0.0) -> None:
    block = JobBlock(key.rule, {"jobid": jobid, "message": message}, key)
    block.began -= ago
    log.job_began(jobid, block)


def progress(root: Path, seed: int, **more: object) -> None:
    path = root / f"results/.state/toy/base/seed{seed}/progress.json"
    path.parent.mkdir(parents=True)
    known = {
        "iteration": 50,
        "total": 200,
        "loss": 1.5,
        "seconds_per_iteration": 0.5,
        "eta_s": 75.0,
        "pid": os.getpid(),
    }
    path.write_text(json.dumps(known | more))


def results(root: Path, seed: int, **aps: float) -> None:
    path = root / f"results/toy/eval/base/seed{seed}/results.tsv"
    path.parent.mkdir(parents=True)
    names = ("exp_name", "ckpt_path", "ckpt_sha256", "config_sha256", "dataset_sha256", "code_sha256")
    lines = ["\t".join([*names, "train_seed", "eval_seed", "sample_step", *METRICS])]
    for row, ap in aps.items():
        lines.append(
            "\t".join([row, "train/base/model.safetensors", *["0" * 64] * 4, str(seed), "0", "1", *[str(ap)] * 6])
        )
    path.write_text("\n".join(lines) + "\n")


def test_only_what_is_planned_is_left_and_only_until_it_is_finished(tmp_path: Path) -> None:
    log = planned(KEYS["train1"], KEYS["eval1"], TIMING)  # of all the others nothing is to be done
    watcher = Watcher(log, {"toy": jobs(tmp_path)}, tmp_path)
    # Two side by side: 100 / 2 + 20 / 2, then the timing alone: 30.
    assert watcher.state().left_s == 90.0 and watcher.state().fraction == 0.0
    began(log, "1", KEYS["train1"], "train base, seed 1")
    log.job_finished("1", "train")
    assert Watcher(log, {"toy": jobs(tmp_path)}, tmp_path).state().left_s == 40.0


def test_every_stage_with_a_cost_counts_when_it_is_planned(tmp_path: Path) -> None:
    alone = JobKey("gallery", "toy")
    known = [Job("gallery", "", 0, tmp_path / "record.json", 0, 30.0), *jobs(tmp_path)]
    assert Watcher(planned(alone), {"toy": known}, tmp_path).state().left_s == 15.0, "30 s, of two workers"


def test_a_job_that_is_made_again_counts_though_its_record_is_there(tmp_path: Path) -> None:
    known = jobs(tmp_path)
    known[0].record.parent.mkdir(parents=True)
    known[0].record.write_text("{}")
    assert Watcher(SnakemakeLog(total=1), {"toy": known}, tmp_path).state().left_s == 100 + 20 + 20 + 30, (
        "no plan is known"
    )
    assert Watcher(planned(KEYS["train0"]), {"toy": known}, tmp_path).state().left_s == 50.0


def test_jobs_at_work(tmp_path: Path) -> None:
    log = planned(*KEYS.values(), TIMING)
    progress(tmp_path, 0, ap=41.25)
    progress(tmp_path, 1, pid=2**22 + 1)
    began(log, "1", KEYS["train0"], "train base, seed 0")
    began(log, "2", KEYS["train1"], "train base, seed 1")
    began(log, "3", KEYS["eval0"], "evaluate base, seed 0", ago=5.0)
    first, second, third = Watcher(log, {"toy": jobs(tmp_path)}, tmp_path).state().running
    assert first.training is not None
    assert (first.training.iteration, first.training.loss, first.training.ap) == (50, 1.5, 41.25)
    assert second.name == "train base, seed 1" and second.training is None, "that progress is of a process that is gone"
    assert third.left_s is not None and 5.0 < third.left_s <= 15.0, "20 s as guessed, for 5 s it has been running"


def test_stages_in_the_order_of_the_work(tmp_path: Path) -> None:
    log = planned(TIMING, JobKey("deliver", "toy"), JobKey("own", "toy"), KEYS["eval0"], KEYS["train0"], KEYS["train1"])
    began(log, "1", KEYS["train0"], "train base, seed 0", ago=60.0)
    log.job_finished("1", "train")
    began(log, "2", KEYS["train1"], "train base, seed 1", ago=30.0)
    train, evaluate, timing, own = Watcher(log, {"toy": jobs(tmp_path)}, tmp_path).state().stages
    assert (train.name, train.done, train.total, train.state) == ("train", 1, 2, "running")
    assert 60.0 <= train.seconds < 90.0, "since the first one began, not the second"
    assert [stage.name for stage in (evaluate, timing, own)] == ["evaluate", "timing", "own"]
    assert {stage.state for stage in (evaluate, timing, own)} == {"waiting"}


def test_the_ap_of_an_evaluation_is_that_of_the_seeds_before_it(tmp_path: Path) -> None:
    results(tmp_path, 0, base_1=40.0, base_5=50.0)
    results(tmp_path, 1, base_1=41.0, base_5=53.0)
    evaluations = tmp_path / "results/toy/eval/base"
    assert ap_of(evaluations, ()) == "AP base_1 40.5, base_5 51.5 (n = 2)"
    log = planned(KEYS["eval1"])  # of seed 1 what lies there is to be made again
    began(log, "1", KEYS["eval1"], "evaluate base, seed 1")
    (line,) = Watcher(log, {"toy": jobs(tmp_path)}, tmp_path).state().running
    assert line.ap == "AP base_1 40.0, base_5 50.0 (n = 1)"
    (evaluations / "seed0/results.tsv").write_text("half a li")
    assert ap_of(evaluations, ["seed1"]) == ""


def test_a_failure_says_where_to_look(tmp_path: Path) -> None:
    (tmp_path / "a b.log").write_text("".join(f"line {number}\n" for number in range(30)))
    block = JobBlock("train", {"message": "train base, seed 0", "log": "a b.log"})
    failure = failure_of(block, tmp_path, 2)
    assert failure.logs == [("a b.log", ["line 28", "line 29"])] and failure.look == "less 'a b.log'"
    log = SnakemakeLog(failed=[block] * 5)
    told = explain_failure(log, tmp_path, tmp_path / "logs/x.log", "make toy")
    assert told[0] == "failed: train (train base, seed 0)" and "… and 2 more jobs failed" in told
    assert told[-3:] == [
        "the whole output: logs/x.log",
        "look deeper:      less 'a b.log'",
        "what is done is kept: `make toy` goes on from here",
    ]


def test_an_interrupted_build_has_no_failures(tmp_path: Path) -> None:
    log = SnakemakeLog(failed=[JobBlock("train")], interrupted=True)
    state = Watcher(log, {}, tmp_path).state()
    assert not state.failures and state.phase == "stopping: the running jobs save their state"


@pytest.mark.parametrize("arguments", [["--until", "train"], ["-Utrain"], ["--cores", "2", "--batch=tables=1/2"]])
def test_less_than_the_deliverable_is_not_called_complete(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    (tmp_path / "deliverables/toy").mkdir(parents=True)
    assert partial(arguments) and not partial(["--cores", "2", "-k"])
    print_result(tmp_path, "toy", "3s", sys.stdout, arguments=arguments, again="make toy")
    told = capsys.readouterr().out
    assert "complete" not in told and "done as far as asked" in told and "go on:   make toy" in told
    print_result(tmp_path, "other", "3s", sys.stdout)
    assert "deliverables/other was not made" in capsys.readouterr().out
