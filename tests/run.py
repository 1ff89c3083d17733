"""All tests: what `make test` runs. Those on the SLURM cluster mostly wait, so they run beside the others.

    python tests/run.py            both halves: logs/tests.xml, logs/slurm-tests.xml
    python tests/run.py -k word    arguments go to one pytest, which runs everything that they choose

The output of the half that runs beside is in logs/slurm-tests.log, and on the screen when it has ended.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APART = "tests/slurm"
INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Run the tests; 0 when all have passed, else the status of the first half that has failed."""
    # In the background a shell has it ignored, and so would all that tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    logs = ROOT / "logs"
    logs.mkdir(exist_ok=True)
    pytest = [sys.executable, "-m", "pytest"]
    rest = [*pytest, "--junit-xml=logs/tests.xml"]
    if arguments:
        return subprocess.run([*rest, *arguments], cwd=ROOT, check=False).returncode
    beside = [*pytest, "--junit-xml=logs/slurm-tests.xml", APART]
    with (logs / "slurm-tests.log").open("wb") as log:
        slurm = subprocess.Popen(beside, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        print(f"{APART}: runs beside the others, see logs/slurm-tests.log", flush=True)
        try:
            code = subprocess.run([*rest, f"--ignore={APART}"], cwd=ROOT, check=False).returncode
            apart = slurm.wait()
        except KeyboardInterrupt:
            slurm.send_signal(signal.SIGINT)  # it stops its cluster
            slurm.wait()
            return INTERRUPTED
    print(f"\n{APART}:\n{(logs / 'slurm-tests.log').read_text(encoding='utf-8', errors='replace')}", flush=True)
    return code or apart


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
