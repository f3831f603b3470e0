"""Every instant at which a test ends the runner, in the order of a run; these are its failpoints.

Between any two of them at most one thing is done to files that others see.
"""

INSTANTS = (
    "runner.begun",  # the handlers are in place, nothing has been touched
    "runner.claim.written",
    "runner.claim.linked",
    "runner.claim.renamed",
    "runner.takeover.linked",
    "runner.takeover.closed",  # each lower restart
    "runner.claimed",  # the manifest was still there
    "runner.log.made",
    "runner.scratch.made",
    "runner.code.unpacked",  # aside, in the cache
    "runner.code.cached",
    "runner.work.copied",
    "runner.work.made",
    "runner.spawned",  # the command runs, no record says so
    "runner.started",
    "runner.beat",
    "runner.ended",  # the command has ended, no record says so
    "runner.drained",  # all that it told is in the spool
    "runner.output.copied",  # each, aside
    "runner.outputs.copied",  # all, aside; none is published
    "runner.output.published",  # each
    "runner.outputs.published",  # all, no record says so
    "runner.outputs.recorded",
    "runner.exit.written",
    "runner.exit.synced",
    "runner.closed",  # the spool is .done
    "runner.cleaned",
)
