"""A profile for a cluster: what it must not do silently.

Snakemake reads profiles/default after the profile that --profile names, so what both set is as the default has
it: with another executor there, a run meant for a cluster would work on the host where it was typed. With
--workflow-profile the default is not read.
"""

import yaml
from snakemake.cli import get_argument_parser, get_profile_dir


def refuse_a_lost_executor():
    """Stop where a profile of the command line names another executor than the one that is about to work."""
    if not workflow.local_exec:
        return
    arguments, _ = get_argument_parser().parse_known_args(sys.argv[1:])
    for profile in arguments.profile or []:
        place = get_profile_dir(profile)
        executor = place and yaml.safe_load(place[1].read_text()).get("executor")
        if executor and executor != "local" and not arguments.executor:
            stop(
                f"--profile {profile} asks for the executor {executor}, but profiles/default, read after it, for "
                "a local one; nothing was run. Type "
                f"--workflow-profile {profile} in place of --profile {profile}"
            )


def refuse_a_missing_profile():
    """Stop where --workflow-profile names nothing: Snakemake would go on without any profile, on this host."""
    if not any(argument.startswith("--workflow-profile") for argument in sys.argv):
        return
    arguments, _ = get_argument_parser().parse_known_args(sys.argv[1:])
    profile = arguments.workflow_profile
    if profile in (None, "none"):
        return
    places = [Path(profile), Path("profiles", profile), ROOT / "profiles" / profile]
    if not any(place.exists() for place in places):
        known = sorted(path.parent.name for path in ROOT.glob("profiles/*/*.yaml"))
        stop(
            f"--workflow-profile {profile}: is missing; nothing was run. This checkout has "
            + ", ".join(f"profiles/{name}" for name in known)
        )


refuse_a_missing_profile()
