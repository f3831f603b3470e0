"""Send: from INTENDED to ACCEPTED, so that a crash at any instant sends nothing twice.

The array is SENDING, by a commit, before sbatch is called. An array found SENDING when a cycle
begins is looked up: adopted if the scheduler has it, sent again only when it is *absent*.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from penstock import failpoint
from penstock.errors import (
    LimitReached,
    NoRoom,
    Refused,
    SchedulerError,
    TransportError,
    Unsure,
)
from penstock.model.evidence import Poll, Task
from penstock.model.run import Array, Intent
from penstock.model.spec import Request
from penstock.planning.arrays import label
from penstock.reconciler import mark
from penstock.reconciler.install import install
from penstock.reconciler.observe import has_token
from penstock.reconciler.world import World
from penstock.scheduler import script
from penstock.scheduler.protocol import Submission
from penstock.store import attempts, lease
from penstock.wire import manifest, place

PROMPT = timedelta(seconds=30)  # from the commit to sbatch; an array is absent only much later
WAS_SUSPENDED = "this process was suspended, or its clock set, before it had sent the array"
RETRY_AFTER = timedelta(seconds=60)  # a limit was reached: ask again then


@dataclass(frozen=True)
class Sent:
    """What became of one array."""

    array: Array
    fence: int  # it grew with this
    job: int | None = None
    error: SchedulerError | None = None


def new_token() -> str:
    """Return a token: it stands in front of the job's name, so `[a-z0-9-]`."""
    return f"ps-{secrets.token_hex(8)}"


def send(world: World, fence: int, arrays: Sequence[Array]) -> list[Sent]:
    """Send arrays that are INTENDED and due; stop where the scheduler says to wait.

    Where there is no room for an array it is halved until it fits; a limit of one account and qos
    does not keep back the arrays of another.
    """
    sent: list[Sent] = []
    full: set[Lane] = set()
    for array in arrays:
        is_early = array.not_before is not None and array.not_before > world.clock.now()
        if is_early or lane(array.request) in full:
            continue
        sent.append(_send_what_fits(world, fence, array))
        fence, error = sent[-1].fence, sent[-1].error
        if isinstance(error, NoRoom):
            full.add(lane(array.request))
        elif error is not None and not isinstance(error, Refused):
            break  # the next would only hear the same
    return sent


Lane = tuple[str | None, str | None, str | None]


def lane(request: Request) -> Lane:
    """Return what limits on submission go by."""
    return request.account, request.qos, request.partition


def _send_what_fits(world: World, fence: int, array: Array) -> Sent:
    while True:
        sent = _send_one(world, fence, array)
        fence = sent.fence
        if not isinstance(sent.error, NoRoom) or array.size == 1:
            return sent
        with world.store.write() as tx:
            now = world.clock.now()
            lease.check_fence(tx, user=world.user, cluster=world.cluster, fence=fence)
            array = attempts.halve(tx, array.id, token=new_token(), now=now)
        failpoint.hit("reconciler.halved")


def _send_one(world: World, fence: int, array: Array) -> Sent:
    submission = write_files(world, fence, array)
    sent_at = world.clock.now()
    fence = _begin(world, fence, array, sent_at)
    _mark(world, fence, array)
    failpoint.hit("reconciler.sending")
    if not sent_at <= world.clock.now() < sent_at + PROMPT:
        # Suspended meanwhile: another may have looked it up, and sent it.
        _unsend(world, fence, array, WAS_SUSPENDED)
        return Sent(array, fence, error=SchedulerError(WAS_SUSPENDED, hint="it is sent again"))
    with world.store.read() as view:  # another's clock may be minutes ahead: to it that was long
        lease.check_fence(view, user=world.user, cluster=world.cluster, fence=fence)
    try:
        job = world.scheduler.submit(submission)
    except Unsure as error:
        return Sent(array, fence, error=error)  # stays SENDING: the next cycle looks it up
    except LimitReached as error:
        later = world.clock.now() + RETRY_AFTER
        _unsend(world, fence, array, error.what, not_before=later)
        return Sent(array, fence, error=error)
    except Refused as error:
        _refuse(world, fence, array, error)
        return Sent(array, fence, error=error)
    except SchedulerError as error:  # its programs are missing: surely nothing was sent
        _unsend(world, fence, array, error.what)
        return Sent(array, fence, error=error)
    failpoint.hit("reconciler.sent")
    _write(world, fence, array, intent=Intent.ACCEPTED, job=job, detail="")
    failpoint.hit("reconciler.accepted")
    return Sent(array, fence, job)


def _begin(world: World, fence: int, array: Array, sent_at: datetime) -> int:
    """Say that an array is about to be sent; return the fence, which grows with it."""
    with world.store.write() as tx:
        attempts.update_array(
            tx, array.id, fence=fence, intent=Intent.SENDING, sent_at=sent_at, detail=""
        )
        return lease.advance(tx, user=world.user, cluster=world.cluster, fence=fence)


def _mark(world: World, fence: int, array: Array) -> None:
    try:
        mark.write(
            world.transport,
            world.settings.home,
            user=world.user,
            cluster=world.cluster,
            fence=fence,
        )
    except TransportError as error:
        _unsend(world, fence, array, error.what)
        raise


def _write(world: World, fence: int, array: Array, **changed: object) -> None:
    with world.store.write() as tx:
        attempts.update_array(tx, array.id, fence=fence, **changed)


def _unsend(
    world: World, fence: int, array: Array, why: str, not_before: datetime | None = None
) -> None:
    """Say that an array is surely not in the scheduler."""
    back = {"intent": Intent.INTENDED, "sent_at": None, "not_before": not_before, "detail": why}
    _write(world, fence, array, **back)


def _refuse(world: World, fence: int, array: Array, error: Refused) -> None:
    now = world.clock.now()
    with world.store.write() as tx:
        attempts.update_array(tx, array.id, fence=fence, intent=Intent.ENDED, detail=error.what)
        attempts.refuse(tx, array.id, str(error), now)


def write_files(world: World, fence: int, array: Array) -> Submission:
    """Write the manifest and the script of an array; writing them again changes nothing."""
    settings, folder = world.settings, world.folder(array.token)
    with world.store.read() as view:
        lease.check_fence(view, user=world.user, cluster=world.cluster, fence=fence)
        runs = attempts.elements(view, array.id)
        row = attempts.stages(view, [array.stage])[array.stage]
    stage = row.stage
    header: dict[str, object] = {
        "token": array.token,
        "command": list(stage.command),
        "env": dict(stage.env),
        "environment": {"apptainer": stage.environment.apptainer},
        "code": _code(world, row.code),
        "scratch": settings.scratch or None,
        "work": str(settings.home / "work"),
        "results": str(settings.results),
        "outputs": list(stage.outputs),
        "metrics": {} if stage.metrics_stdout is None else {"stdout": stage.metrics_stdout or True},
        "beat_s": settings.beat_s,
    }
    entries = [manifest.entry(run.name, run.uid, run.attempt, run.params) for run in runs]
    submission = Submission(
        token=array.token,
        label=label(runs[0].experiment, stage.name),
        size=array.size,
        throttle=array.throttle,
        request=array.request,
        folder=str(folder),
        log=str(folder / place.SLURM_LOG),
    )
    text = script.render(
        submission,
        python=settings.python,
        runner=install(world.transport, settings.home),
        templates=settings.templates,
    )
    world.transport.put(str(folder / place.MANIFEST), manifest.encode(header, entries))
    world.transport.put(str(folder / place.SCRIPT), text.encode(), mode=0o755)
    return submission


def _code(world: World, digest: str | None) -> dict[str, str] | None:
    if digest is None:
        return None
    return {"digest": digest, "path": str(world.settings.home / "code" / f"{digest}.tar.gz")}


def look_up(world: World, fence: int, arrays: Sequence[Array], poll: Poll | None) -> None:
    """Find out what became of arrays that are SENDING: adopt, or send again when *absent*.

    Where two jobs bear the token (its script was submitted by hand as well) their user says which.
    """
    for array in arrays:
        found = _jobs(poll, array)
        if not found and poll is not None:
            found = _jobs(_ask_accounting(world, array), array)
        if len(found) == 1:
            _adopt(world, fence, array, found.popitem()[1])
        elif found:
            _ask_which(world, fence, array, sorted(found))
        elif is_absent(world, array, poll):
            _unsend(world, fence, array, "never arrived; sent again")


def _ask_which(world: World, fence: int, array: Array, jobs: Sequence[int]) -> None:
    question = f"jobs {' and '.join(map(str, jobs))} bear its name"
    if array.detail != question:
        _write(world, fence, array, detail=question)


def _jobs(poll: Poll | None, array: Array) -> dict[int, Task]:
    tasks = poll.tasks if poll is not None else ()
    return {task.job: task for task in tasks if has_token(task, array.token)}


def _ask_accounting(world: World, array: Array) -> Poll | None:
    if not world.capabilities.has_accounting or array.sent_at is None:
        return None
    try:
        return world.scheduler.find(array.token, since=array.sent_at - timedelta(hours=1))
    except SchedulerError:
        return None


def is_absent(world: World, array: Array, poll: Poll | None) -> bool:
    """Return whether the scheduler surely never had the array.

    The queue and the accounting both answered without it, later than MinJobAge and the
    lag of the accounting after it was sent. Without accounting a job may have come and gone: the
    user is asked.
    """
    if poll is None or array.sent_at is None or not world.capabilities.has_accounting:
        return False
    if poll.at - array.sent_at < world.policy.absent_after:
        return False
    answer = _ask_accounting(world, array)
    return answer is not None and not _jobs(answer, array)


def _adopt(world: World, fence: int, array: Array, task: Task) -> None:
    _write(world, fence, array, intent=Intent.ACCEPTED, job=task.job, submit_at=task.submit_at)
