"""Arrays that are SENDING where the scheduler cannot say: the runner's word, then the user's."""

import os
import pwd
from pathlib import Path

import pytest

from penstock.clock import Clock
from penstock.errors import NotFoundError, UsageError
from penstock.model.run import Array, Intent
from penstock.model.spec import Stage
from penstock.reconciler.cycle import cycle
from penstock.reconciler.world import World
from penstock.scheduler.slurm import SlurmScheduler
from penstock.service import resolve
from penstock.service.project import Project
from penstock.settings import Settings
from penstock.store import attempts, resolutions, submissions
from penstock.store.connection import Store, open_store
from penstock.testing.factories import make_new_submission
from penstock.testing.model import Cluster
from penstock.testing.site import Site, User
from penstock.testing.transport import Fault, ModelTransport
from penstock.wire import place, spool

ME = pwd.getpwuid(os.getuid()).pw_name


class Case:
    """One sweep of two runs, whose sbatch times out on a cluster without accounting."""

    def __init__(self, folder: Path, fault: Fault | None, *, has_accounting: bool = False) -> None:
        me = User(ME, os.getuid(), ("lab",))
        site = Site(users=(me,), has_accounting=has_accounting, min_job_age_s=600)
        self.cluster = Cluster(site, seed=1)
        self.transport = ModelTransport(self.cluster, user=ME)
        self.clock: Clock = self.cluster.clock
        settings = Settings(root=folder, home=folder / "home")
        url = f"sqlite:///{folder / 'penstock.db'}"
        open_store(url, create=True).close()
        self.project = Project(settings, self.clock)
        scheduler = SlurmScheduler(self.transport, clock=self.clock)
        self.store = Store(url, clock=self.clock)
        self.world = World(
            settings, self.store, scheduler, self.transport, self.clock, ME, os.getuid()
        )
        vars(self.project).update(store=self.store, world=self.world)
        submission = make_new_submission(
            project=folder.name,
            experiment="sweep",
            user=ME,
            cluster=self.world.cluster,
            file="s.yaml",
            stages=(Stage(name="main", command=("true",)),),
        )
        with self.store.write() as tx:
            runs = [(0, submissions.params({"n": n})) for n in range(2)]
            submissions.insert(tx, submission, runs, self.clock.now())
        if fault is not None:
            self.transport.order(fault, "sbatch --parsable")
        cycle(self.world)

    @property
    def array(self) -> Array:
        with self.store.read() as view:
            (found,) = attempts.arrays(view, user=ME, cluster=self.world.cluster, intents=[*Intent])
        return found

    @property
    def intent(self) -> Intent:
        return self.array.intent

    @property
    def question(self) -> str:
        return resolve.sending(self.project)[0].question

    def wait(self, seconds: float) -> None:
        self.cluster.advance(seconds)
        cycle(self.world)


def test_question_is_put_when_nothing_can_be_known(tmp_path: Path) -> None:
    case = Case(tmp_path, Fault.TIME_OUT)
    assert case.array.intent is Intent.SENDING
    assert case.question == ""
    case.wait(3600)
    assert "no accounting" in case.question
    assert case.array.intent is Intent.SENDING


def test_no_question_where_there_is_accounting(tmp_path: Path) -> None:
    case = Case(tmp_path, Fault.TIME_OUT, has_accounting=True)
    case.wait(3600)
    assert case.array.intent is Intent.ACCEPTED
    assert not resolve.sending(case.project)


def test_resend_sends_again(tmp_path: Path) -> None:
    case = Case(tmp_path, Fault.TIME_OUT)
    token = case.array.token
    resolve.resolve(case.project, token[:6], job=None)
    still = case.intent
    assert still == "sending", "the reconciler alone changes arrays"
    assert resolve.sending(case.project)[0].is_answered
    cycle(case.world)
    assert (case.array.intent, case.array.token) == (Intent.ACCEPTED, token)
    with case.store.read() as view:
        assert not resolutions.answers(view, user=ME, cluster=case.world.cluster)


def test_adopt_takes_the_job(tmp_path: Path) -> None:
    case = Case(tmp_path, Fault.TIME_OUT)
    resolve.resolve(case.project, case.array.token, job=777)
    cycle(case.world)
    assert (case.array.intent, case.array.job) == (Intent.ACCEPTED, 777)


def test_answer_that_the_queue_contradicts_is_refused(tmp_path: Path) -> None:
    case = Case(tmp_path, Fault.DONE_THEN_TIME_OUT)
    for job in (None, 777):
        with pytest.raises(UsageError, match="has ps-"):
            resolve.resolve(case.project, case.array.token, job=job)
    cycle(case.world)
    assert case.array.job == 1


def test_two_jobs_of_one_name_are_asked_about(tmp_path: Path) -> None:
    """Its user submitted the script by hand, too: the claim lets only one run an element."""
    case = Case(tmp_path, Fault.DONE_THEN_TIME_OUT, has_accounting=True)
    script = case.world.folder(case.array.token) / place.SCRIPT
    case.transport.run(["sbatch", "--parsable", str(script)])
    case.wait(1)
    assert case.intent is Intent.SENDING
    assert case.question == "jobs 1 and 3 bear its name"
    with pytest.raises(UsageError, match="as job 1, 3") as refused:
        resolve.resolve(case.project, case.array.token, job=9)
    assert "adopt one" in refused.value.hint
    resolve.resolve(case.project, case.array.token, job=3)
    cycle(case.world)
    assert (case.array.intent, case.array.job) == (Intent.ACCEPTED, 3)


def test_job_of_another_is_refused(tmp_path: Path) -> None:
    case = Case(tmp_path, Fault.TIME_OUT)
    case.transport.run(["sbatch", "--parsable", "--job-name=other"], stdin=b"#!/bin/sh\n")
    with pytest.raises(UsageError, match="another's: other"):
        resolve.resolve(case.project, case.array.token, job=1)


def test_answer_that_comes_too_late_changes_nothing(tmp_path: Path) -> None:
    case = Case(tmp_path, Fault.DONE_THEN_TIME_OUT)
    array = case.array
    with case.store.write() as tx:
        assert resolutions.answer(tx, array.token, job=None, user=ME, now=case.clock.now())
        attempts.update_array(tx, array.id, intent=Intent.ACCEPTED, job=1)
    cycle(case.world)
    assert case.intent not in (Intent.SENDING, Intent.INTENDED)
    with case.store.read() as view:
        assert not resolutions.answers(view, user=ME, cluster=case.world.cluster)
    with pytest.raises(NotFoundError, match="none does"):
        resolve.resolve(case.project, case.array.token, job=None)


def test_later_answer_takes_the_place_of_an_earlier(tmp_path: Path) -> None:
    case = Case(tmp_path, Fault.TIME_OUT)
    resolve.resolve(case.project, case.array.token, job=777)
    resolve.resolve(case.project, case.array.token, job=None)
    with case.store.read() as view:
        (one,) = resolutions.answers(view, user=ME, cluster=case.world.cluster)
    assert one.job is None


def test_runner_that_has_begun_names_its_job(tmp_path: Path) -> None:
    """Out of the queue by now, and no accounting: the run itself says that it arrived."""
    case = Case(tmp_path, Fault.TIME_OUT)
    array = case.array
    told = {"k": "open", "at": case.clock.now().timestamp(), "token": array.token, "index": 1}
    told |= {"restart": 0, "job": "812_1", "node": "n1", "pid": 1}
    path = case.world.folder(array.token) / place.spool(1, 0)
    case.transport.put(str(path), spool.encode(told))
    cycle(case.world)
    assert (case.array.intent, case.array.job) == (Intent.ACCEPTED, 812)
