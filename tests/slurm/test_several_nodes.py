"""One training over two nodes by srun: the processes find each other, and train as two on one node do."""

import sys
from pathlib import Path

import pytest

from c2o_model.determinism import pin_environment
from tests.slurm.toy_cluster import ToyCluster

pin_environment()  # before torch is imported by what follows

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that trains the tiny model, but for OUTPUT_DIR."""
    from c2o_model.config import config_from_dict, dump_resolved
    from tests.c2o_model.conftest import TINY, _write_split

    place = tmp_path_factory.mktemp("tiny")
    split = _write_split(place, 8, 5)
    (place / "tiny.yaml").write_text(dump_resolved(config_from_dict(TINY)))
    return [
        *("env", f"EXTRA_COCO_DATASETS=tiny_set:{split.annotation}:{split.image_root}", f"PYTHONPATH={ROOT}"),
        *(sys.executable, "-m", "c2o_model.train_net", "--config-file", str(place / "tiny.yaml")),
        *("DATASETS.TRAIN", "('tiny_set',)", "SOLVER.MAX_ITER", "4", "OUTPUT_DIR"),
    ]


def test_two_nodes_train_as_one(cluster: ToyCluster, command: list[str], tmp_path: Path) -> None:
    for name, nodes in (("one", ["-N1", "--ntasks-per-node=2"]), ("two", ["-N2", "--ntasks-per-node=1"])):
        done = cluster.call("srun", "--mem=3000", *nodes, *command, str(tmp_path / name))
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("wrote ") == 1
    one, two = (tmp_path / name for name in ("one", "two"))
    assert (one / "metrics.json").read_bytes() == (two / "metrics.json").read_bytes()
    from c2o_model.checkpoint import read_checkpoint

    # The files themselves differ: their recipes name the output directory.
    weights = [read_checkpoint(place / "model_final.safetensors")[0] for place in (one, two)]
    assert weights[0].keys() == weights[1].keys()
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])


JOB = """
import sys
from pathlib import Path
from c2o_model.determinism import pin_environment
pin_environment()
import yaml
from c2o_model.determinism import set_deterministic
from c2o_model.training.shared import Training, train_shared
set_deterministic()
here, data = map(Path, sys.argv[1:])
config = yaml.safe_load((here / "config.yaml").read_text())
def train(name, machines):
    training = Training(config, 3, data, here / name / "m.safetensors", here / name / "state", here, "r", {})
    print(name, *train_shared(training, 2, 1, machines, progress=lambda now: None).ran, flush=True)
train("two", 2)
train("one", 1)
"""


def test_a_job_of_the_workflow_trains_on_two_nodes(cluster: ToyCluster, tmp_path: Path) -> None:
    """What workflow/scripts/train_model.py does in a job with `nodes=2`: a step on both nodes inside of the job."""
    import yaml

    from c2o_model.data import manifest
    from tests.c2o_model.conftest import TINY, _write_split

    data = tmp_path / "data"
    data.mkdir()
    _write_split(data, 8, 5).annotation.rename(data / "train.json")
    manifest.write(manifest.build(data, "tiny", {}, ["train"]))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**TINY, "SOLVER.MAX_ITER": 4}))
    (tmp_path / "job.py").write_text(JOB)
    said = tmp_path / "said"
    number = cluster.run(
        *("sbatch", "--parsable", "--nodes=2", "--ntasks=2", "--cpus-per-task=1", "--mem=3000", f"--output={said}"),
        *("--wrap", f"PYTHONPATH={ROOT} srun -n1 --cpu-bind=q {sys.executable} {tmp_path}/job.py {tmp_path} {data}"),
    ).strip()  # as the executor of Snakemake does it
    assert cluster.wait_for_job(number, timeout=300) == "COMPLETED", said.read_text()
    assert "two 2 x 1\n" in said.read_text() and "one 1 x 2\n" in said.read_text()
    one, two = (tmp_path / name / "m.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
