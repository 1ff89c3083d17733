"""Runs one command after the other, each in a child of its own, with memory, file size and time limited.

The modules are imported once and the children are forks, so a case costs what it does, not what Python's start does.
Requests and answers are JSON lines. An audit hook in each child ends it where anything would be executed or connected.
"""

import hashlib
import json
import os
import resource
import runpy
import signal
import sys
import time
from pathlib import Path

FORBIDDEN = ("os.exec", "os.fork", "os.posix_spawn", "os.system", "pickle.find_class", "socket.connect", "subprocess.")
MEMORY = 1500 << 20  # bytes above what the imported modules take; 12 MB is what an honest bundle needs
FILE = 16 << 20
CPU_SECONDS = 100


def preload() -> None:
    import jinja2  # noqa: F401
    import jsonschema  # noqa: F401
    import pycocotools.cocoeval  # noqa: F401
    import rich.highlighter  # noqa: F401
    import rich.table  # noqa: F401
    import scipy.stats  # noqa: F401

    import c2o_evidence.annotations
    import c2o_evidence.cli
    import c2o_evidence.freeze
    import c2o_evidence.metrics
    import c2o_evidence.show
    import c2o_evidence.verify.command
    import c2o_evidence.verify.tables  # noqa: F401


def draw_once(bundle: str) -> None:
    """Verify an honest bundle here, so that its figures are drawn already in every child that asks for the same."""
    from c2o_evidence import figures
    from c2o_evidence.verify import verify

    draw, drawn = figures.build_figures, {}

    def build_figures(suite, *rows):
        key = hashlib.sha256(repr((suite.to_dict(), rows)).encode()).digest()
        if key not in drawn:
            drawn[key] = draw(suite, *rows)
        return drawn[key]

    figures.build_figures = build_figures
    verify(bundle, "tables", jobs=1)


def guard() -> None:
    """No more than that much memory and file, and nothing executed, from here on."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def hook(event: str, _arguments: object) -> None:
        if event.startswith(FORBIDDEN):
            os.write(2, f"EXECUTED {event}\n".encode())
            os._exit(99)

    sys.addaudithook(hook)


def child(request: dict) -> None:
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    os.chdir(request["cwd"])
    guard()
    code = 70
    try:
        if request["script"]:
            sys.argv = [request["script"], *request["argv"]]
            runpy.run_path(request["script"], run_name="__main__")
        else:
            from c2o_evidence.cli import main

            code = main(request["argv"])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def serve() -> None:
    preload()
    draw_once(sys.argv[1])
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        started = time.monotonic()
        pid = os.fork()
        if not pid:
            child(request)
        killed, pause = False, 0.001
        while True:
            done, status, usage = os.wait4(pid, os.WNOHANG)
            if done:
                break
            if not killed and time.monotonic() - started > request["timeout"]:
                os.kill(pid, signal.SIGKILL)
                killed = True
            time.sleep(pause)
            pause = min(2 * pause, 0.05)
        answer = {
            "code": os.waitstatus_to_exitcode(status),
            "hung": killed,
            "seconds": time.monotonic() - started,
            "peak_mb": usage.ru_maxrss / 1024,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
