"""GPUs: how many a job asks for with its resource `gpu`, and how many this machine has.

Snakemake only counts. Which ones a job gets is decided when it begins (workflow/scripts/job.py); a job whose
devices another run holds waits for them. Without `--resources gpu=N`, Snakemake starts no more at once than
there are devices.
"""

import os

from c2o_evidence.slots import device_count, devices_needed


@asked_often
def gpus_of(wildcards, threads):
    """GPUs of a training or evaluation, one a process; of the timing, which has no experiment, one at most."""
    limit = workflow.global_resources.get("gpu").value
    most = threads if limit is None else min(threads, limit)
    experiment = getattr(wildcards, "experiment", None)
    try:
        return devices_needed(suite(wildcards.suite), experiment, most)
    except EvidenceError:
        return 1  # the job says what is wrong, and others go on


GPUS = gpus_of if in_an_experiment(devices_needed) else 0


def limit_gpus():
    """Let Snakemake count to the devices of this machine where it works here and was told no other number."""
    limits = workflow.global_resources
    elsewhere = limits["_nodes"].value is not None  # jobs go to a cluster
    if workflow.is_main_process and not elsewhere and "gpu" not in limits:
        try:
            count = device_count(os.environ)
        except EvidenceError as error:
            stop(error)
        if count:
            workflow.register_resource("gpu", count)


limit_gpus()
