"""What happens when a run begins, and what it shows: on a terminal a live view in place of Snakemake's lines.

The view (c2o_evidence/live) is a handler of Snakemake's logger, put there when jobs are about to start. No profile and
no environment has to name it; `--logger NAME` in its place wins, and so does a wish for fewer or more of Snakemake's
lines.
"""


def show_progress():
    from snakemake.logging import (
        logger,
    )  # here: the Snakemake of each job reads this file too
    from snakemake.settings.enums import Quietness

    from c2o_evidence.live.attach import Run, show
    from c2o_evidence.live.notes import JobKey
    from c2o_evidence.workload import jobs_of

    output = workflow.output_settings
    silent = {Quietness.ALL, Quietness.PROGRESS, Quietness.RULES}
    if (
        workflow.touch
        or output.log_handler_settings
        or silent & set(output.quiet or ())
    ):
        return
    jobs = list(workflow.dag.needrun_jobs())
    plan = [JobKey.of(job.rule.name, job.wildcards_dict) for job in jobs]
    suites = sorted({key.suite for key in plan if key.suite})
    show(
        Run(
            logger=logger,
            plan=plan,
            jobs={name: jobs_of(suite(name), ROOT) for name in suites},
            targets=sorted(map(str, workflow.dag_settings.targets)),
            parallel=workflow.cores if workflow.local_exec else workflow.nodes,
            plain=output.verbose
            or output.debug_dag
            or workflow.execution_settings.debug,
        )
    )


# The only such block of the workflow: of several Snakemake heeds the last.
onstart:
    refuse_a_lost_executor()
    hold_run_lock()
    show_progress()
