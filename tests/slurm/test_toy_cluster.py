"""The cluster for tests is a real one, and leaves nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slurm import toy_cluster
from tests.slurm.conftest import running
from tests.slurm.toy_cluster import ToyCluster, wait_for
from tests.slurm.toy_processes import marked

ROOT = Path(__file__).resolve().parents[2]


def submit(cluster: ToyCluster, script: str, *arguments: str) -> str:
    return cluster.run("sbatch", "--parsable", "--output=/dev/null", *arguments, "--wrap", script).strip()


def test_jobs_run_in_their_share_of_a_node(cluster: ToyCluster, tmp_path: Path) -> None:
    said = tmp_path / "said"
    script = f"srun -n1 sh -c 'echo $CUDA_VISIBLE_DEVICES $SLURM_CPUS_ON_NODE $SLURMD_NODENAME' > {said}"
    number = submit(cluster, script, "--gpus=2", "--nodes=1", "-c3", "--mem=300")
    assert cluster.wait_for_job(number) == "COMPLETED"
    assert said.read_text().split() == ["0,1", "3", cluster.job(number)["NodeList"]]


def test_a_crashed_node_takes_its_processes_with_it_and_no_others(cluster: ToyCluster) -> None:
    numbers = [submit(cluster, "srun -n1 sleep 300; true", "-c4") for _ in range(2)]  # a whole node each
    for number in numbers:
        cluster.wait_for_job(number, {"RUNNING"})
    first, second = (cluster.job(number)["NodeList"] for number in numbers)
    wait_for(lambda: len(marked(cluster.root, second)) >= 4, 20, "the second job has no step")  # slurmd, stepds, sleep
    cluster.node_crash(first)
    assert not marked(cluster.root, first) and len(marked(cluster.root, second)) >= 4
    cluster.clear()
    assert set(cluster.node_states().values()) == {"idle"} and not cluster.jobs()


def test_the_accounting_remembers_ended_jobs(accounting_cluster: ToyCluster) -> None:
    number = submit(accounting_cluster, "exit 3", "--job-name=remembered")
    accounting_cluster.wait_for_job(number)

    def told() -> str:
        return accounting_cluster.run("sacct", "-X", "-n", "-P", "--format=JobID,JobName,State,ExitCode")

    wait_for(lambda: f"{number}|remembered|FAILED|3:0" in told(), 30, told)


def test_nothing_of_it_outlives_tests_that_are_killed(cluster: ToyCluster) -> None:
    script = (
        "import os, signal; from tests.slurm.toy_cluster import ToyCluster; cluster = ToyCluster(nodes=1);"
        "cluster.start(); print(cluster.root, cluster.run('sbatch', '-o/dev/null', '--wrap', 'sleep 300'), flush=True);"
        "cluster.wait_for_job('1', {'RUNNING'}); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    root = Path(done.stdout.split()[0])
    assert done.returncode == -9 and root != cluster.root
    wait_for(lambda: not marked(root) and not root.exists(), 10, lambda: f"{marked(root)} are left of {root}")


def test_without_the_packages_tests_say_so_and_fail_where_they_must_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy_cluster, "SEARCHED", "/nowhere")
    monkeypatch.delenv("C2O_REQUIRE_SLURM", raising=False)
    told = r"SLURM is not installed \(munged, slurmctld.* not found\): apt-get install --no-install-recommends slurm"
    with pytest.raises(pytest.skip.Exception, match=told):
        next(running(accounting=False))
    monkeypatch.setenv("C2O_REQUIRE_SLURM", "1")
    with pytest.raises(pytest.fail.Exception, match=rf"C2O_REQUIRE_SLURM is set, but {told}"):
        next(running(accounting=False))
