"""GPUs in a real run of Snakemake, with made-up devices: who sees which, who waits, what is refused (stubs)."""

import json
import os
import time
from pathlib import Path

import pytest

from c2o_evidence.slots import Devices, acquire

BASELINES = [f"results/tiny/train/baseline/seed{seed}/model.safetensors" for seed in (0, 1)]
WARM_START = "results/tiny/train/warmstart/seed0/model.safetensors"

# What a stub leaves: its title, what CUDA would show it, and from when to when.
SEEN = """
    import json, os
    began, title = time.monotonic(), running.title
    time.sleep(0.5)
    visible, ended = os.environ.get("CUDA_VISIBLE_DEVICES"), time.monotonic()
    seen = {"title": title, "visible": visible, "began": began, "ended": ended}
    with open("stub.seen", "a") as stream:
        print(json.dumps(seen), file=stream)
"""


@pytest.fixture
def on_gpus(fresh):
    """A checkout whose baseline and warm start train on a GPU, on a machine with two."""
    fresh.environment |= {"C2O_GPUS": "fake-0,fake-1", "C2O_GPU_LEASES": str(fresh.path.parent / "leases")}
    fresh.environment |= {"CUDA_VISIBLE_DEVICES": "9"}
    for init in ("backbone", "baseline"):
        plain = f"init: {init}, opts: {{SOLVER.MAX_ITER: 6"
        fresh.edit("configs/suites/tiny.yaml", plain, plain.replace("{SOLVER", "{MODEL.DEVICE: cuda, SOLVER"))
    with (fresh.path / "workflow/scripts/train.py").open("a") as stream:
        stream.write(SEEN)
    return fresh


def wait_for(path: Path, text: str, count: int, process) -> str:
    """Content of a file as soon as it holds `text` so often; the process that is to write it must be at work."""
    while (content := path.read_text() if path.exists() else "").count(text) < count:
        assert process.poll() is None, content
        time.sleep(0.05)
    return content


def test_jobs_take_turns_on_the_devices_of_the_machine(on_gpus) -> None:
    devices = Devices(("fake-0", "fake-1"), "C2O_GPUS")
    with acquire(2, devices, on_gpus.path.parent / "leases", "a run elsewhere"):
        process = on_gpus.start(*BASELINES, "--cores", "4")
        output = wait_for(on_gpus.path / "output.txt", "waits for", 2, process)
        said = next(line for line in output.splitlines() if "waits for" in line)
        held = f"fake-0 is held by process {os.getpid()} (a run elsewhere) since 20"
        assert said.startswith("  train tiny baseline") and f": waits for 1 GPU of 2: {held}" in said
        (backbone,) = (json.loads(line) for line in (on_gpus.path / "stub.seen").read_text().splitlines())
        assert (backbone["title"], backbone["visible"]) == ("train tiny backbone 0", ""), "no device for who needs none"
    assert process.wait(120) == 0
    output = (on_gpus.path / "output.txt").read_text()
    assert 'Provided resources: gpu=Resource("gpu", 2)' in output or "Provided resources: gpu=2" in output
    _, first, second = (json.loads(line) for line in (on_gpus.path / "stub.seen").read_text().splitlines())
    assert {first["visible"], second["visible"]} == {"fake-0", "fake-1"}, "both at once, each on its own"
    assert max(first["began"], second["began"]) < min(first["ended"], second["ended"])
    log = on_gpus.path / f"logs/tiny/train/baseline/seed{first['title'][-1]}.log"
    assert f"1 GPU of 2: {first['visible']}; listed by C2O_GPUS" in log.read_text()

    done = on_gpus.run(WARM_START, "--resources", "gpu=0")
    assert done.returncode == 1
    message = "Error: train tiny warmstart 0: MODEL.DEVICE is cuda, and --resources or --set-resources allow gpu=0"
    assert message in done.stdout
    on_gpus.edit("configs/suites/tiny.yaml", "MODEL.DEVICE: cuda, SOLVER", "MODEL.DEVICE: cuda:1, SOLVER")
    done = on_gpus.run(WARM_START)
    message = "Error: configs/suites/tiny.yaml: baseline: MODEL.DEVICE: 'cuda:1' names one device; write cuda"
    assert done.returncode == 1 and message in done.stdout
    on_gpus.environment["C2O_GPUS"] = "a,a"
    done = on_gpus.run(WARM_START)
    assert done.returncode == 1 and "Error: C2O_GPUS: a is listed twice; list each device once" in done.stdout
