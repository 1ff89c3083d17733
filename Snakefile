"""C2O: regenerates published results. Type `snakemake` for the list of what can be made."""

import shlex
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")

ROOT = Path(workflow.basedir)
ENVIRONMENT = "../../environment.yml"  # seen from workflow/rules; used with --software-deployment-method conda
sys.path.insert(0, str(ROOT))  # this checkout's packages, whichever copy is installed

# What must be in the environment before a job's Python starts: string hashing cannot be pinned later.
shell.prefix(
    f"set -euo pipefail; export PYTHONHASHSEED=0 PYTHONPATH={shlex.quote(str(ROOT))}; exec "
)


include: "workflow/rules/suites.smk"
include: "workflow/rules/cluster.smk"
include: "workflow/rules/lock.smk"
include: "workflow/rules/progress.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/distill.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/timing.smk"
include: "workflow/rules/attention.smk"
include: "workflow/rules/gallery.smk"
include: "workflow/rules/parity.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/manifest.smk"
include: "workflow/rules/verify.smk"
include: "workflow/rules/deliver.smk"


wildcard_constraints:
    suite=r"[A-Za-z0-9_-]+",
    experiment=r"[A-Za-z0-9_-]+",
    dataset=r"[A-Za-z0-9_-]+",
    seed=r"\d+",


# Without a target nothing is built: the suites are listed with what to type.
rule deliverables:
    default_target: True
    log:
        "logs/deliverables.log",
    localrule: True
    run:
        Path(log[0]).write_text(suite_list())
        print(suite_list())
