"""How many jobs a suite is: a training and an evaluation for each checkpoint, whatever its runs, and ten for all."""

import json
import re

from benchmarks.dag_directories import suite_document

ONCE = ("data", "timing", "attention", "tables", "figures", "manifest", "bundle", "verify", "freeze", "deliver")


def test_jobs_grow_with_checkpoints_and_not_with_runs(fresh) -> None:
    """7 experiments, the third with a teacher, with 20 seeds, 2 rows and 5 eval seeds: 140 checkpoints, 1400 runs."""
    document = suite_document(140)
    assert (len(document["experiments"]), len(document["train_seeds"])) == (7, 20)
    assert len(document["rows"]) * len(document["eval_seeds"]) * 20 == 1400
    (fresh.path / "configs" / "suites" / "large.yaml").write_text(json.dumps(document))
    done = fresh.run("deliverables/large", "--dry-run", "--quiet", "rules")
    assert done.returncode == 0, done.stdout
    counts = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", done.stdout, re.MULTILINE)}
    expected = {"train": 6 * 20, "distill": 20, "evaluate": 140, **dict.fromkeys(ONCE, 1)}
    assert counts == expected | {"total": 290}
