"""Torch and Detectron2 asked in a process of their own, so that this package stays free of them."""

import json
import subprocess
import sys
from typing import Any

PROBE_SECONDS = 180
PROGRAM = """
import json
answer = {}

def ask(name, question):
    try:
        answer[name] = question()
    except Exception as error:
        answer[name + "_error"] = f"{type(error).__name__}: {error}"

def pins():
    from c2o_model.determinism import pin_environment, pinned_env
    pin_environment()
    return pinned_env()

def torch_itself():
    import torch
    answer["cuda_build"] = torch.version.cuda
    answer["devices"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    answer["cpu_capability"] = torch.backends.cpu.get_cpu_capability()
    return torch.__version__

def torchvision_operator():
    import torch, torchvision
    torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    return torchvision.__version__

def detectron2_itself():
    import detectron2, detectron2.checkpoint, detectron2.config, detectron2.layers, detectron2.modeling
    return detectron2.__version__

def detectron2_compiled():
    from detectron2 import _C
    return True

def flex():
    from torch.nn.attention.flex_attention import flex_attention
    return True

ask("pins", pins)
ask("torch", torch_itself)
ask("torchvision", torchvision_operator)
ask("detectron2", detectron2_itself)
ask("detectron2_compiled", detectron2_compiled)
ask("flex", flex)
print(json.dumps(answer))
"""


def probe_torch(program: str = PROGRAM, seconds: float = PROBE_SECONDS) -> dict[str, Any]:
    """What torch and Detectron2 say of themselves.

    Returns:
        torch, torchvision, detectron2 (versions), cuda_build, devices (names of GPUs), cpu_capability, pins
        (what `c2o_model.determinism` puts into the environment), detectron2_compiled, flex; in place of what
        could not be asked NAME_error with the reason. Only `{"torch_error": reason}` when the process
        itself failed.
    """
    command = [sys.executable, "-c", program]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"torch_error": f"the import of torch did not end within {seconds:g} s"}
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}, no word"])[-1]
        return {"torch_error": f"the import of torch ended the process: {last}"}
    return dict(answer)
