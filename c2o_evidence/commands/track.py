"""`c2o track`: what may be typed, handed to c2o_evidence.trackers.command."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "show results in TensorBoard, MLflow or Weights & Biases"
HELP = """\
Writes what the records of a suite say into a tracker: a run for each training (its configuration, its digests, every
row of its curve), one for each evaluated checkpoint (each row's metrics, by eval seed) and one for the summary table.
What is there already is not written twice. Nothing is uploaded, and no evidence depends on it.

Trainings of the workflow leave TensorBoard events by themselves: tensorboard --logdir results/SUITE/tensorboard
C2O_TRACK=mlflow,wandb c2o run SUITE does the same for the others at the end of a build.

examples:
  c2o track quick                                          TensorBoard events of results that were made elsewhere
  c2o track step1_5seed --to mlflow                        into results/.state/mlflow, or MLFLOW_TRACKING_URI
  c2o track step1_5seed --to mlflow --uri http://host:5000 --project detectors
  c2o track deliverables/step1_5seed --to wandb --uri ~/wandb      offline; `wandb sync` uploads when you want"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", metavar="NAME", help="a suite with results here, results/SUITE, or a frozen bundle")
    parser.add_argument(
        "--to", choices=["tensorboard", "mlflow", "wandb"], default="tensorboard", help="default: tensorboard"
    )
    parser.add_argument("--uri", metavar="URI", help="where: MLflow's tracking URI, or a directory")
    parser.add_argument("--project", metavar="NAME", help="MLflow's experiment, W&B's project (default: c2o-SUITE)")


def run(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.trackers.command import track

    print(track(arguments.results, arguments.to, root, arguments.uri, arguments.project))
    return 0
