"""Answer for arrays of which nobody but their user can know whether the scheduler has them."""

from contextlib import suppress
from datetime import timedelta

from penstock.errors import NotFoundError, SchedulerError, Unreachable, UsageError
from penstock.model.evidence import Task
from penstock.service.project import Project
from penstock.store import resolutions
from penstock.store.resolutions import Sending

MARGIN = timedelta(hours=1)  # of clocks that differ


def sending(project: Project) -> list[Sending]:
    """Return the arrays of this user that are perhaps with the scheduler."""
    with project.store.read() as view:
        return resolutions.sending(view, user=project.user)


def resolve(project: Project, token: str, *, job: int | None) -> Sending:
    """Store what an array is to become: adopted under a job, or (None) sent again.

    Raises NotFoundError where no array of that token is SENDING, UsageError where the scheduler or
    the record knows better. The scheduler of the array's cluster is asked first; where it cannot
    be asked, the user's word is taken.
    """
    array = _named(project, token)
    _check(project, array, job, _known(project, array))
    with project.store.write() as tx:
        stored = resolutions.answer(
            tx, array.token, job=job, user=project.user, now=project.clock.now()
        )
    if not stored:
        raise NotFoundError(
            f"{array.token} was found in the meantime", hint="nothing is to be done"
        )
    return array


def _named(project: Project, token: str) -> Sending:
    found = [one for one in sending(project) if one.token.startswith(token) and token]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{token} begins several tokens: {', '.join(one.token for one in found)}")
    names = ", ".join(one.token for one in sending(project))
    raise NotFoundError(
        f"no array {token!r} waits to be resolved",
        hint=f"these do: {names}" if names else "none does: what was sent is known to have arrived",
    )


def _on(project: Project, array: Sending) -> Project:
    """Return the project on the cluster that an array was sent to."""
    return project.on(array.cluster if array.cluster in project.settings.clusters else "")


def _known(project: Project, array: Sending) -> list[Task]:
    """Return what the queue and the accounting say: a job may have come and gone."""
    tasks = list[Task]()
    try:
        world = _on(project, array).world
    except Unreachable:
        return tasks
    with suppress(SchedulerError):
        tasks += world.scheduler.observe().tasks
    with suppress(SchedulerError):
        if world.capabilities.has_accounting:
            tasks += world.scheduler.find(array.token, since=array.sent_at - MARGIN).tasks
    return tasks


def _check(project: Project, array: Sending, job: int | None, tasks: list[Task]) -> None:
    from penstock.reconciler.observe import has_token  # noqa: PLC0415  where an answer is given

    ours = sorted({task.job for task in tasks if has_token(task, array.token)})
    if ours and job not in ours:
        said = ", ".join(map(str, ours))
        raise UsageError(
            f"the scheduler has {array.token} as job {said}",
            hint="adopt one of these, and cancel the others"
            if len(ours) > 1
            else "`penstock tick` adopts it; nothing has to be resolved",
        )
    if job is None or job in ours:
        return
    with project.store.read() as view:
        other = resolutions.owner_of_job(view, job, cluster=array.cluster)
    others = {task.name for task in tasks if task.job == job}
    if other or others:
        raise UsageError(
            f"job {job} is another's: {other or others.pop()}",
            hint=f"the name of the job must begin with {array.token}",
        )
