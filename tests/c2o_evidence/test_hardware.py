"""The hardware fingerprint: what is in it, and what moves its id."""

import json
import subprocess
import sys

from c2o_evidence.hardware import fingerprint, fingerprint_id


def test_describes_this_machine():
    values = fingerprint()
    assert values["cpu"] and 1 <= values["physical_cores"] <= values["cores"]
    assert values["memory_bytes"] > 2**20
    assert values["python"] == ".".join(map(str, sys.version_info[:3]))
    assert values["packages"]["numpy"] and set(values["packages"]) == {"torch", "torchvision", "numpy"}
    assert len(values["id"]) == 12 and int(values["id"], 16) >= 0
    assert json.loads(json.dumps(values)) == values


def test_the_id_follows_what_matters(monkeypatch):
    values = fingerprint()
    assert fingerprint()["id"] == values["id"]
    assert fingerprint_id({**values, "cpu": "another"}) != values["id"]
    assert fingerprint_id({**values, "memory_bytes": values["memory_bytes"] + 4096}) == values["id"]
    assert fingerprint_id({**values, "memory_bytes": 2 * values["memory_bytes"]}) != values["id"]
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    pinned = fingerprint()
    assert pinned["pins"]["OMP_NUM_THREADS"] == "7" and pinned["id"] != values["id"]


def test_torch_is_not_imported():
    code = "import sys, c2o_evidence.hardware as h; h.fingerprint(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
