"""The configuration files of the SLURM cluster for tests, as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

NAME = "toy"
DATABASE_USER, DATABASE_PASSWORD = "slurm", "toy"


@dataclass(frozen=True)
class Layout:
    """A cluster's size, its directory and its ports; all nodes are this machine.

    `options` are lines of slurm.conf that replace those below or come on top, as in {"KillWait": "30"}.
    """

    root: Path
    host: str
    user: str
    port: int  # the controller's; behind it slurmdbd's, the database's and one for each node
    nodes: int = 3
    cpus: int = 4
    mem: int = 8000  # MB a node
    gpus: int = 2  # a node
    slurmd_timeout: int = 20  # s without an answer after which a node counts as down
    accounting: bool = False
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def node_names(self) -> list[str]:
        return [f"n{number}" for number in range(1, self.nodes + 1)]

    @property
    def conf(self) -> Path:
        return self.root / "etc" / "slurm.conf"

    @property
    def munge_socket(self) -> Path:
        return self.root / "munge" / "socket"

    @property
    def database_socket(self) -> Path:
        return self.root / "database" / "socket"

    def slurm_conf(self) -> str:
        """Partitions `batch` (the default) and `gpu` with all nodes; memory is watched and jobs over it killed."""
        root = self.root
        options = {
            "ClusterName": NAME,
            "SlurmctldHost": f"{self.host}(127.0.0.1)",
            "SlurmctldPort": self.port,
            "SlurmUser": self.user,
            "SlurmdUser": self.user,
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={self.munge_socket}",
            "CredType": "cred/munge",
            "StateSaveLocation": root / "state",
            "SlurmdSpoolDir": root / "spool" / "%n",
            "SlurmctldPidFile": root / "run" / "slurmctld.pid",
            "SlurmdPidFile": root / "run" / "%n.pid",
            "SlurmctldDebug": "info",
            "SlurmdDebug": "info",
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "JobAcctGatherType": "jobacct_gather/linux",
            "JobAcctGatherFrequency": "task=1",
            "JobAcctGatherParams": "OverMemoryKill",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core_Memory",
            "SchedulerType": "sched/backfill",
            "SchedulerParameters": "batch_sched_delay=0,sched_interval=5,sched_min_interval=0,bf_interval=5",
            "SlurmdParameters": "config_overrides",  # more cores than this machine has
            "MpiDefault": "none",
            "SwitchType": "switch/none",
            "ReturnToService": 2,
            "SlurmctldTimeout": 60,
            "SlurmdTimeout": self.slurmd_timeout,
            "InactiveLimit": 0,
            "KillWait": 3,
            "MinJobAge": 300,
            "JobRequeue": 1,
            "DefMemPerCPU": self.mem // self.cpus,
            "UnkillableStepTimeout": 30,
            "GresTypes": "gpu",
            "AccountingStorageType": "accounting_storage/none",
        }
        if self.accounting:
            options |= {
                "AccountingStorageType": "accounting_storage/slurmdbd",
                "AccountingStorageHost": "127.0.0.1",
                "AccountingStoragePort": self.port + 1,
                "AccountingStoragePass": self.munge_socket,
                "AccountingStorageTRES": "gres/gpu",
            }
        lines = [f"{name}={value}" for name, value in (options | dict(self.options)).items()]
        gres = f" Gres=gpu:toy:{self.gpus}" if self.gpus else ""
        for number, name in enumerate(self.node_names):
            lines.append(
                f"NodeName={name} NodeHostname={self.host} NodeAddr=127.0.0.1 Port={self.port + 3 + number} "
                f"CPUs={self.cpus} RealMemory={self.mem}{gres} State=UNKNOWN"
            )
        nodes = ",".join(self.node_names)
        for partition in ("batch Default=YES", "gpu"):
            lines.append(f"PartitionName={partition} Nodes={nodes} MaxTime=1-00:00:00 DefaultTime=30 State=UP")
        return "\n".join([*lines, ""])

    def gres_conf(self) -> str:
        """The GPUs: a line with a count alone would register none, so each has a file, of whatever device."""
        lines = [
            f"NodeName={name} Name=gpu Type=toy File={self.gpu_file(name, number)}"
            for name in self.node_names
            for number in range(self.gpus)
        ]
        return "\n".join([*lines, ""])

    def gpu_file(self, node: str, number: int) -> Path:
        return self.root / "gpus" / f"{node}-{number}"

    def slurmdbd_conf(self) -> str:
        options = {
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={self.munge_socket}",
            "DbdHost": self.host,
            "DbdAddr": "127.0.0.1",
            "DbdPort": self.port + 1,
            "SlurmUser": self.user,
            "DebugLevel": "info",
            "PidFile": self.root / "run" / "slurmdbd.pid",
            "StorageType": "accounting_storage/mysql",
            "StorageHost": "127.0.0.1",
            "StoragePort": self.port + 2,
            "StorageUser": DATABASE_USER,
            "StoragePass": DATABASE_PASSWORD,
            "StorageLoc": "slurm_acct_db",
        }
        return "\n".join([*(f"{name}={value}" for name, value in options.items()), ""])
