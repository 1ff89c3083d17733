"""A real SLURM cluster for tests: munged, slurmctld and one slurmd a node on this machine, all below one directory.

No systemd, no file outside the directory. With accounting also slurmdbd on a MariaDB of its own. The daemons are
children of this process in sessions of their own; whatever happens to it, its guard (toy_processes.py) ends them.
"""

from __future__ import annotations

import atexit
import getpass
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.slurm.toy_config import DATABASE_PASSWORD, DATABASE_USER, NAME, Layout
from tests.slurm.toy_processes import MARK, NODE, kill
from tests.slurm.toy_processes import __file__ as GUARD

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "sinfo", "scontrol")
ACCOUNTING_PROGRAMS = ("slurmdbd", "sacctmgr", "sacct", "mariadbd", "mariadb", "mariadb-admin", "mysql_install_db")
SEARCHED = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"}


def missing(accounting: bool = False) -> str:
    """Why no cluster can be made here, with what to do; empty where one can."""
    programs = (*PROGRAMS, *(ACCOUNTING_PROGRAMS if accounting else ()))
    absent = [name for name in programs if shutil.which(name, path=SEARCHED) is None]
    if absent:
        packages = "slurm-wlm munge" + (" slurmdbd mariadb-server" if accounting else "")
        return (
            f"SLURM is not installed ({', '.join(absent)} not found): "
            f"apt-get install --no-install-recommends {packages}"
        )
    return ""


class ToyCluster:
    """A cluster with nodes n1, n2, … and the partitions `batch` and `gpu`, between `start` and `stop`.

    `root` must be short (sockets lie below it); without it one is made and removed again. The other arguments
    are those of Layout.
    """

    def __init__(
        self,
        root: Path | None = None,
        nodes: int = 3,
        cpus: int = 4,
        mem: int = 8000,
        gpus: int = 2,
        slurmd_timeout: int = 20,
        accounting: bool = False,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.root = Path(root or tempfile.mkdtemp(prefix="c2o-slurm-")).resolve()
        self.layout = Layout(
            root=self.root,
            host=socket.gethostname().split(".")[0],
            user=getpass.getuser(),
            port=free_ports(3 + nodes),
            nodes=nodes,
            cpus=cpus,
            mem=mem,
            gpus=gpus,
            slurmd_timeout=slurmd_timeout,
            accounting=accounting,
            options=options or {},
        )
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def nodes(self) -> list[str]:
        return self.layout.node_names

    def __enter__(self) -> ToyCluster:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # Its life

    def start(self) -> None:
        """Come up with all nodes idle, in one to two seconds; eight with accounting.

        Raises:
            RuntimeError: something did not come up; the ends of all logs are in the message.
        """
        self._write_files()
        self._guard = subprocess.Popen(
            [sys.executable, GUARD, str(self.root)], stdin=subprocess.PIPE, start_new_session=True
        )
        atexit.register(self.stop)
        try:
            munge = self.root / "munge"
            self._start(
                "munged",
                "--foreground",
                *(f"--{name}-file={munge / name}" for name in ("key", "pid", "seed")),
                f"--log-file={self.root / 'log' / 'munged.log'}",
                f"--socket={self.layout.munge_socket}",
                "--num-threads=2",
            )
            if self.layout.accounting:
                self._start_database()
            wait_for(self.layout.munge_socket.exists, 10, "munged does not answer")
            if self.layout.accounting:
                self.accounting_start()
            self.controller_start()
            for name in self.nodes:
                self.node_up(name)
            self.wait_for_nodes()
        except (TimeoutError, OSError) as error:
            logs = self.logs()
            self.stop()
            raise RuntimeError(f"the SLURM cluster did not come up: {error}\n{logs}") from error

    def stop(self) -> None:
        """End all its processes, jobs included, and remove its directory."""
        atexit.unregister(self.stop)
        kill(self.root)
        for daemon in self._daemons.values():
            daemon.wait()
        self._daemons.clear()
        if self._guard:
            assert self._guard.stdin
            self._guard.stdin.close()
            self._guard.wait()
        shutil.rmtree(self.root, ignore_errors=True)

    def clear(self) -> None:
        """Cancel all jobs and bring every node back: what a test leaves to the next one."""
        if "slurmdbd" not in self._daemons and self.layout.accounting:
            self.accounting_start()
        if "slurmctld" not in self._daemons:
            self.controller_start()
        self.run("scancel", f"--user={self.layout.user}")
        for name in self.nodes:
            if name not in self._daemons:
                self.node_up(name)
        wait_for(lambda: not self.jobs(), 60, lambda: f"jobs do not end: {self.jobs()}")
        for name, state in self.node_states().items():
            if state.startswith(("down", "drain")):
                # Refused where it has come back by itself since.
                self.call("scontrol", "update", f"NodeName={name}", "State=RESUME")
        self.wait_for_nodes()

    # Its parts

    def node_up(self, name: str) -> None:
        (self.root / "spool" / name).mkdir(exist_ok=True)
        self._start("slurmd", "-D", "-N", name, "-f", str(self.layout.conf), as_name=name, extra={NODE: name})

    def node_crash(self, name: str) -> None:
        """As when a node loses its power: SIGKILL to its slurmd, its job steps and all that runs in them."""
        kill(self.root, name)
        self._daemons.pop(name).wait()

    def controller_start(self) -> None:
        self._start("slurmctld", "-D", "-f", str(self.layout.conf))
        wait_for(lambda: self.call("sinfo", "-h").returncode == 0, 20, "slurmctld does not answer")

    def controller_stop(self) -> None:
        self._stop("slurmctld")

    def accounting_start(self) -> None:
        self._start("slurmdbd", "-D")
        wait_for(lambda: self.call("sacctmgr", "-n", "list", "cluster").returncode == 0, 30, "slurmdbd does not answer")
        if NAME not in self.run("sacctmgr", "-n", "list", "cluster", "format=cluster"):
            self.run("sacctmgr", "-i", "add", "cluster", NAME)

    def accounting_stop(self) -> None:
        """End slurmdbd; its database goes on."""
        self._stop("slurmdbd")

    # Its use

    def environment(self) -> dict[str, str]:
        """This process' environment with what commands and jobs need to find the cluster."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH", "SRUN"))}
        return kept | self.own_environment()

    def own_environment(self) -> dict[str, str]:
        """What commands and jobs need in their environment to find the cluster.

        The step inside a job loses SLURM_CONF, so an `srun` that puts it back comes first on PATH.
        """
        return {
            "SLURM_CONF": str(self.layout.conf),
            "PATH": f"{self.root / 'bin'}:{SEARCHED}",
            MARK: str(self.root),
        }

    def call(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in `environment`, whatever its exit status."""
        return subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=120)

    def run(self, *command: str) -> str:
        """Run a command in `environment`; what it prints.

        Raises:
            RuntimeError: it failed.
        """
        done = self.call(*command)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}: {done.stderr}{done.stdout}")
        return done.stdout

    def squeue(self, form: str, *arguments: str) -> list[list[str]]:
        """Rows of squeue with the fields of `form`, such as "%i|%T|%j" (id, state, name; see its manual)."""
        lines = self.run("squeue", "-h", "-o", form, *arguments).splitlines()
        return [[field.strip() for field in line.split("|")] for line in lines]

    def jobs(self, *arguments: str) -> dict[str, str]:
        """State by id of the jobs that have not ended; of all that SLURM remembers with "--states=all"."""
        return dict(self.squeue("%i|%T", *arguments))

    def job(self, number: str) -> dict[str, str]:
        """What `scontrol show job` knows of a job, by its names (JobState, NodeList, Restarts, Comment, …)."""
        fields = (word.partition("=") for word in self.run("scontrol", "-o", "show", "job", number).split(" "))
        return {name: value for name, equals, value in fields if equals}

    def wait_for_job(self, number: str, states: set[str] = ENDED, timeout: float = 120) -> str:
        """Wait until the job has one of the states; which one."""
        wait_for(
            lambda: self.job(number)["JobState"] in states,
            timeout,
            lambda: f"job {number} is {self.job(number)['JobState']}, not {' or '.join(sorted(states))}",
        )
        return self.job(number)["JobState"]

    def node_states(self) -> dict[str, str]:
        """State by node as sinfo tells it, such as `idle`, `mixed`, `down*` (`*`: does not answer)."""
        lines = self.run("sinfo", "-h", "-N", "-p", "batch", "-o", "%N %T").splitlines()
        return dict(map(str.split, lines))

    def wait_for_nodes(self, state: str = "idle", timeout: float = 60) -> None:
        wait_for(
            lambda: set(self.node_states().values()) == {state}, timeout, lambda: f"nodes are {self.node_states()}"
        )

    def logs(self, lines: int = 15) -> str:
        """The ends of all daemons' logs."""
        found = sorted((self.root / "log").glob("*"))
        return "\n".join(
            f"== {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) for path in found
        )

    # Inside

    def _write_files(self) -> None:
        for name in ("bin", "etc", "gpus", "log", "munge", "run", "spool", "state"):
            (self.root / name).mkdir(parents=True)
            (self.root / name).chmod(0o755)
        self.root.chmod(0o755)
        key = self.root / "munge" / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        self.layout.conf.write_text(self.layout.slurm_conf())
        self.layout.conf.with_name("gres.conf").write_text(self.layout.gres_conf())
        accounting = self.layout.conf.with_name("slurmdbd.conf")
        accounting.write_text(self.layout.slurmdbd_conf())
        accounting.chmod(0o600)
        for node in self.nodes:
            for number in range(self.layout.gpus):
                self.layout.gpu_file(node, number).symlink_to("/dev/null")
        shim = self.root / "bin" / "srun"
        program = shutil.which("srun", path=SEARCHED)
        shim.write_text(f'#!/bin/sh\nSLURM_CONF={self.layout.conf} exec {program} "$@"\n')
        shim.chmod(0o755)

    def _start(self, *command: str, as_name: str = "", extra: Mapping[str, str] | None = None) -> None:
        name = as_name or command[0]
        assert name not in self._daemons, f"{name} runs"
        program = shutil.which(command[0], path=SEARCHED)
        assert program
        with open(self.root / "log" / name, "ab") as log:
            self._daemons[name] = subprocess.Popen(
                [program, *command[1:]],
                env={**self.environment(), **(extra or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _stop(self, name: str) -> None:
        daemon = self._daemons.pop(name)
        daemon.terminate()
        try:
            daemon.wait(30)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def _start_database(self) -> None:
        place = self.root / "database"
        place.mkdir()
        (place / "tmp").mkdir()
        own = (
            "--no-defaults",
            f"--user={self.layout.user}",
            *(f"--{name}dir={place / name}" for name in ("data", "tmp")),
        )
        self.run("mysql_install_db", *own, "--auth-root-authentication-method=normal", "--skip-test-db")
        self._start(
            "mariadbd",
            *own,
            f"--socket={self.layout.database_socket}",
            f"--pid-file={place / 'pid'}",
            f"--port={self.layout.port + 2}",
            "--bind-address=127.0.0.1",
            "--innodb-buffer-pool-size=64M",
            "--innodb-log-file-size=32M",
            "--innodb-lock-wait-timeout=900",
            "--performance-schema=OFF",
        )
        client = ("--no-defaults", "-u", "root", "-S", str(self.layout.database_socket))
        wait_for(lambda: self.call("mariadb-admin", *client, "ping").returncode == 0, 30, "mariadbd does not answer")
        user = f"'{DATABASE_USER}'@'%'"
        self.run(
            "mariadb",
            *client,
            "-e",
            f"CREATE DATABASE slurm_acct_db; CREATE USER {user} IDENTIFIED BY '{DATABASE_PASSWORD}'; "
            f"GRANT ALL ON slurm_acct_db.* TO {user};",
        )


def wait_for(condition: Callable[[], bool], timeout: float, message: str | Callable[[], str]) -> None:
    """Look twenty times a second until it is so.

    Raises:
        TimeoutError: it did not become so; with the message.
    """
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{message() if callable(message) else message} (after {timeout:g} s)")
        time.sleep(0.05)


def free_ports(count: int) -> int:
    """The first of `count` consecutive free ports, below those that Linux gives to clients."""
    for _ in range(200):
        first = random.randrange(20000, 32000 - count)
        sockets = []
        try:
            for port in range(first, first + count):
                sockets.append(socket.socket())
                sockets[-1].bind(("127.0.0.1", port))
        except OSError:
            continue
        finally:
            for opened in sockets:
                opened.close()
        return first
    raise RuntimeError("no free ports for a SLURM cluster between 20000 and 32000")
