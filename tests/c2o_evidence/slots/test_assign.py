"""What a job of the workflow gets: devices of the machine, those of SLURM, or none."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from c2o_evidence.errors import SlotError
from c2o_evidence.slots import assign, devices_needed, devices_of_gres, holders


def refuse(text: str) -> None:
    raise AssertionError(text)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"C2O_GPUS": "fake-0,fake-1", "C2O_GPU_LEASES": str(tmp_path / "leases")}


def test_devices_of_the_machine(environ: dict[str, str], tmp_path: Path) -> None:
    other = dict(environ)
    first, second = assign(1, "a", environ, refuse), assign(1, "b", other, refuse)
    assert (environ["CUDA_VISIBLE_DEVICES"], other["CUDA_VISIBLE_DEVICES"]) == ("fake-0", "fake-1")
    assert first.text == "1 GPU of 2: fake-0; listed by C2O_GPUS"
    child = subprocess.Popen(["sleep", "60"], pass_fds=first.descriptors)
    first.release()
    second.release()
    assert first.descriptors == () and list(holders(tmp_path / "leases", ["fake-0", "fake-1"])) == ["fake-0"]
    child.kill()
    child.wait()
    assert holders(tmp_path / "leases", ["fake-0", "fake-1"]) == {}
    with pytest.raises(SlotError, match="^train x: needs 3 GPUs, but this machine has 2"):
        assign(3, "train x", environ, refuse)


@pytest.mark.parametrize("slurm", [{}, {"SLURM_JOB_ID": "12"}])
def test_a_job_on_the_processor_sees_no_device(environ: dict[str, str], tmp_path: Path, slurm: dict[str, str]) -> None:
    environ |= {"CUDA_VISIBLE_DEVICES": "0"} | slurm
    assert assign(0, "a", environ, refuse).lease is None
    assert environ["CUDA_VISIBLE_DEVICES"] == "" and not (tmp_path / "leases").exists()


def test_what_slurm_gave_is_left_alone(environ: dict[str, str], tmp_path: Path) -> None:
    environ |= {"SLURM_JOB_ID": "12", "CUDA_VISIBLE_DEVICES": "0,1"}
    given = assign(2, "a", environ, refuse)
    assert (given.lease, given.text) == (None, "2 GPUs, given by SLURM: 0,1")
    assert environ["CUDA_VISIBLE_DEVICES"] == "0,1" and not (tmp_path / "leases").exists()


@pytest.mark.parametrize(("seen", "word"), [(None, "none"), ("", "none"), ("NoDevFiles", "none"), ("0", "1")])
def test_fewer_than_asked_for_from_slurm_is_an_error(environ: dict[str, str], seen: str | None, word: str) -> None:
    environ |= {"SLURM_JOB_ID": "12"} | ({} if seen is None else {"CUDA_VISIBLE_DEVICES": seen})
    message = (
        rf"train x: needs 2 GPUs, but SLURM gave its job 12 {word} \(CUDA_VISIBLE_DEVICES is {seen!r}\); ask for gpu=2"
    )
    with pytest.raises(SlotError, match=message):
        assign(2, "train x", environ, refuse)


def test_jobs_in_one_allocation_share_it_and_other_allocations_count_for_themselves(environ: dict[str, str]) -> None:
    seen = []
    kept = []
    for job in ("12", "12", "13"):
        one = environ | {"SLURM_JOB_ID": job, "CUDA_VISIBLE_DEVICES": "0,1"}
        kept.append(assign(1, "a", one, refuse))
        seen.append(one["CUDA_VISIBLE_DEVICES"])
    assert seen == ["0", "1", "0"]
    for assignment in kept:
        assignment.release()


def test_on_several_machines_slurm_has_dealt_them_out(environ: dict[str, str]) -> None:
    environ |= {"SLURM_JOB_ID": "12", "CUDA_VISIBLE_DEVICES": "0,1,2"}
    assert assign(8, "a", environ, refuse, 2).text == "3 GPUs, given by SLURM: 0,1,2"
    environ["CUDA_VISIBLE_DEVICES"] = ""
    with pytest.raises(SlotError, match="needs 1 GPU, but SLURM gave its job 12 none"):
        assign(8, "a", environ, refuse, 2)


def suite_of(processes: int = 1, **devices: str | None):
    configs = {name: {"MODEL": {"DEVICE": device} if device else {}} for name, device in devices.items()}
    return SimpleNamespace(
        path="configs/suites/x.yaml",
        evaluated=tuple(devices),
        seeds_of=lambda name: (3,),
        experiment=lambda name: SimpleNamespace(processes=processes),
        recipe=lambda name, seed: SimpleNamespace(config=configs[name]) if seed == 3 else None,
    )


def test_what_a_configuration_needs() -> None:
    suite = suite_of(silent=None, cpu="cpu", gpu="cuda", first="cuda:0", second="cuda:1")
    assert [devices_needed(suite, name) for name in ("silent", "cpu", "gpu", "first")] == [0, 0, 1, 1]
    with pytest.raises(
        SlotError, match="configs/suites/x.yaml: second: MODEL.DEVICE: 'cuda:1' names one device; write cuda"
    ):
        devices_needed(suite, "second")
    assert devices_needed(suite_of(4, a=None, b="cuda")) == 1, "timing looks at all rows"
    assert devices_needed(suite_of(a=None)) == devices_needed(suite_of()) == 0


@pytest.mark.parametrize(
    ("processes", "most", "expected"),
    [(1, None, 1), (8, None, 8), (8, 8, 8), (8, 6, 4), (6, 4, 3), (7, 6, 1), (8, 0, 1)],
)
def test_fewer_devices_than_processes_share_the_work_evenly(processes: int, most: int | None, expected: int) -> None:
    assert devices_needed(suite_of(processes, a="cuda"), "a", most) == expected
    assert devices_needed(suite_of(processes, a="cpu"), "a", most) == 0


@pytest.mark.parametrize(
    ("gres", "count"), [("gpu", 1), ("gpu:2", 2), ("gpu:a100", 1), ("gpu:a100:4", 4), ("", 0), ("shard:3", 0)]
)
def test_gpus_of_a_generic_resource(gres: str, count: int) -> None:
    assert devices_of_gres(gres) == count
