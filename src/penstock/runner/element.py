"""One element of an array: claim it, run it, say how it ended."""

import contextlib
import os
import signal
import sys
import time

from penstock import failpoint
from penstock.runner import code, command, image, outputs, scratch, signals, usage
from penstock.runner.events import Events
from penstock.runner.metrics import Printed
from penstock.runner.record import Spool, open_log
from penstock.runner.trouble import Trouble, words
from penstock.runner.verdict import Seen, exit_code, verdict
from penstock.runner.watch import Fenced, Watch, tell
from penstock.wire import argv as template
from penstock.wire import claim, event, manifest, over, place

MYPY = False  # typing takes time to import
if MYPY:
    from typing import Any

FULL_S = 60.0  # how long the exit record is tried where the file system is full


class Element:
    """Which element this is, from the variables that Slurm (or the local scheduler) sets."""

    def __init__(self, folder: str, env: "dict[str, str]") -> None:
        self.folder = os.path.abspath(folder)
        self.index = int(env["SLURM_ARRAY_TASK_ID"])
        self.job = "%s_%d" % (env["SLURM_ARRAY_JOB_ID"], self.index)
        self.cluster = env.get("SLURM_CLUSTER_NAME", "")
        self.restart = int(env.get("SLURM_RESTART_COUNT") or 0)
        self.node = env.get("SLURMD_NODENAME") or os.uname().nodename

    def header(self, token: str) -> "dict[str, object]":
        """Return the ``open`` record."""
        return {
            "k": "open",
            "at": round(time.time(), 3),
            "token": token,
            "index": self.index,
            "restart": self.restart,
            "job": self.job,
            "cluster": self.cluster,
            "node": self.node,
            "pid": os.getpid(),
        }

    def why_over(self) -> str:
        """Say why nothing may be run any more; lists the folder, so that NFS asks its server."""
        names = os.listdir(self.folder)
        if place.MANIFEST not in names:
            return "its array has ended"
        if place.OVER in names and over.of(self.folder, self.index):
            return "its end is on the record, and stays; submit it anew to run it again"
        return ""


def run(folder: str) -> int:
    """Run the element that the environment names; return the runner's exit code."""
    try:
        element = Element(folder, dict(os.environ))
    except (KeyError, ValueError) as error:
        return _say("this runs in an array job, and %s is not set" % error, 2)
    try:
        header, entry = manifest.read(os.path.join(folder, place.MANIFEST), element.index)
        opened = claim.take(element.folder, element.header(str(header["token"])), failpoint.hit)
        why_over = element.why_over()
        if why_over:
            claim.close(opened)
            raise claim.Taken(why_over)
    except claim.Taken as why:
        return _say("nothing is run: %s" % why, claim.TAKEN)
    except (OSError, ValueError, IndexError, KeyError) as error:
        if os.path.exists(os.path.join(folder, place.MANIFEST_ENDED)):
            return _say("nothing is run: its array has ended", claim.TAKEN)
        return _say("nothing is run: %s" % error, claim.UNABLE)
    failpoint.hit("runner.claimed")
    return Run(element, header, entry, Spool(opened)).go()


def _say(what: str, code: int) -> int:
    print("penstock: %s" % what, file=sys.stderr)  # noqa: T201  into slurm.log
    return code


class Stopped(Exception):
    """The job is ended before the command was started."""


class Run:
    """A claimed element, from its claim to its exit record."""

    def __init__(self, element: Element, header: "Any", entry: "Any", spool: Spool) -> None:
        self.element = element
        self.header = header
        self.entry = entry
        self.spool = spool
        self.began = time.monotonic()
        self.lost: "list[str]" = []  # what is wrong with files that user code logged
        self.folder: "scratch.Folder | None" = None
        self.watch = Watch(spool, 2, float(header.get("beat_s") or 30))
        self.watch.kill_after_s = float(header.get("on_term_s") or 0)

    def go(self) -> int:
        """Do all of it; return the runner's exit code."""
        element = self.element
        before = claim.sealed(element.folder, element.index, element.restart)
        if before is not None:
            self._tidy()
            return self._finish(dict(before, at=round(time.time(), 3), detail=_again(before)))
        try:
            try:
                self.watch.log = open_log(element.folder, element.index, element.restart)
                failpoint.hit("runner.log.made")
                fields = verdict(self._run(self._start()))
            except Stopped as stopped:
                fields = dict(verdict(Seen(None, signals.TERM, True)), detail=str(stopped))
            except Trouble as trouble:
                fields = self._setup_failed(trouble)
            except OSError as error:
                fields = self._setup_failed(Trouble(words(error)))
            self.watch.assert_held(ask=True)
            status = self._finish(self._exit(fields))
        except Fenced as fenced:
            status = self._fenced(str(fenced))
        if self.folder is not None:
            self.folder.remove()
        failpoint.hit("runner.cleaned")
        return status

    def _tidy(self) -> None:
        """Remove what an earlier restart left on this node, when nothing is to be run."""
        with contextlib.suppress(Trouble, OSError):
            above, _ = scratch.root(self.header.get("scratch"), self.header["work"])
            self._scratch_folder(scratch.own(above)).sweep(self.element.node)

    def _scratch_folder(self, own: str) -> scratch.Folder:
        element = self.element
        return scratch.Folder(own, self.header["token"], element.index, element.restart)

    # --- setting up ----------------------------------------------------------------------------

    def _start(self) -> command.Command:
        header, params = self.header, self.entry["params"]
        usage.adopt()
        try:
            event.inside(self.entry["folder"])
        except ValueError as error:
            raise Trouble("the manifest is not ours: %s" % error) from None
        above, note = scratch.root(header.get("scratch"), header["work"])
        own = scratch.own(above)
        failpoint.hit("runner.scratch.made")
        self.folder = folder = self._scratch_folder(own)
        folder.make(self.element.node)
        self._unpack(own, folder.work)
        env = command.variables(header, params)
        runs_in = (header.get("environment") or {}).get("apptainer")
        command.equip(folder.path, params, env, "python3" if runs_in else sys.executable)
        env.update(self._variables(folder))
        try:
            argv = template.render(header["command"], params)
        except KeyError as error:
            raise Trouble(
                "the command asks for the parameter %s, which the run lacks" % error
            ) from None
        if runs_in:
            argv = image.inside(runs_in, argv, env, folder.path, folder.work, header["results"])
        failpoint.hit("runner.work.made")
        if note:
            self.watch.note(note)
        self._listen(folder)
        return self._spawn(argv, env, folder.work)

    def _unpack(self, own: str, work: str) -> None:
        archive = self.header.get("code")
        if archive:
            code.copy(archive["path"], archive["digest"], own, work)
            code.clean(own)
        else:
            os.mkdir(work)
        failpoint.hit("runner.work.copied")

    def _variables(self, folder: scratch.Folder) -> "dict[str, str]":
        return {
            "PENSTOCK_RUN": str(self.entry["run"]),
            "PENSTOCK_ATTEMPT": str(self.entry["attempt"]),
            "PENSTOCK_RESTART": str(self.element.restart),
            "PENSTOCK_EVENTS": folder.events,
            "TMPDIR": folder.tmp,
        }

    def _listen(self, folder: scratch.Folder) -> None:
        watch = self.watch
        watch.events = Events(folder.events, watch.points)
        watch.keep = self._keep_file
        wanted = (self.header.get("metrics") or {}).get("stdout")
        if wanted is not None and wanted is not False:
            element = self.element
            log = os.path.join(element.folder, place.log(element.index, element.restart))
            try:
                watch.printed = Printed(log, wanted, watch.points)
            except ValueError as error:
                raise Trouble(str(error)) from None

    def _spawn(self, argv: "list[str]", env: "dict[str, str]", work: str) -> command.Command:
        self.watch.pulse()
        if self.watch.is_termed:
            raise Stopped("SIGTERM came before the command was started")
        spawned = command.Command(argv, env, work, self.watch.log)
        failpoint.hit("runner.spawned")
        self.spool.add("start", argv=argv, folder=work)
        self.spool.sync()
        failpoint.hit("runner.started")
        return spawned

    # --- running -------------------------------------------------------------------------------

    def _run(self, spawned: command.Command) -> Seen:
        kills = usage.oom_kills()
        watch = self.watch
        try:
            watch.until_end(spawned)
            failpoint.hit("runner.ended")
        finally:
            left = spawned.sweep()
        watch.usage.close()
        watch.await_term(spawned)
        if left:
            watch.note(
                "ended what the command left behind: %d process%s"
                % (left, "" if left == 1 else "es")
            )
        watch.drain()
        failpoint.hit("runner.drained")
        seen = Seen(spawned.code, spawned.signal, watch.is_termed)
        if kills is not None:
            seen.oom_kills = (usage.oom_kills() or kills) - kills
        seen.lost = "; ".join([*self.lost[:1], *filter(None, [self._keep()])])
        return seen

    def _keep(self) -> str:
        """Copy the outputs; return what is wrong with them, or nothing."""
        assert self.folder is not None
        found = outputs.find(self.folder.work, self.header.get("outputs") or [])
        for note in found.notes:
            self.watch.note(note)
        lost = self._publish(found.files)
        if not lost and found.missing:
            lost = "the command ended without its output %s" % ", ".join(found.missing)
        return lost

    def _keep_file(self, path: str, name: str) -> None:
        """Copy a file that user code logged, which then goes away; see tracking.client."""
        assert self.folder is not None
        kept = os.path.join(self.folder.path, event.KEPT)
        found = outputs.below(kept, path, name)
        lost = self._publish(found.files) or "; ".join(found.notes)
        scratch.remove_any(path if not found.notes else "")
        if lost:
            self.watch.note("%s: %s" % (name, lost))
            self.lost.append(lost)

    def _publish(self, files: "list[outputs.Wanted]") -> str:
        element = self.element
        label = "%d-%d" % (element.index, element.restart)
        folder = self.entry["folder"]
        results = outputs.Results(self.header["results"], folder, label, self.watch.pulse)
        try:
            for wanted in files:
                results.copy(wanted)
            failpoint.hit("runner.outputs.copied")
            self.watch.assert_held(ask=True)
            records = results.publish()
        except OSError as error:
            return "an output could not be copied to %s: %s" % (results.path, words(error))
        finally:
            results.close()
        failpoint.hit("runner.outputs.published")
        for record in records:
            self.spool.put(dict(record, at=round(time.time(), 3)))
        failpoint.hit("runner.outputs.recorded")
        return ""

    # --- ending --------------------------------------------------------------------------------

    def _setup_failed(self, trouble: Trouble) -> "dict[str, Any]":
        tell(self.watch.log, str(trouble))
        fields = {"code": trouble.code, "signal": None, "cause": "setup", "detail": str(trouble)}
        return dict(fields, sealed=False)

    def _exit(self, fields: "dict[str, Any]") -> "dict[str, Any]":
        watch = self.watch
        if fields["cause"] == "output":
            tell(watch.log, fields["detail"])
        return dict(
            fields,
            k="exit",
            at=round(time.time(), 3),
            peak=watch.usage.peak_bytes,
            cpu=round(watch.usage.cpu_s, 3),
            wall=round(time.monotonic() - self.began, 3),
            log=[0, os.fstat(watch.log).st_size],
        )

    def _finish(self, record: "dict[str, Any]") -> int:
        """Write the exit record and close the spool; return the exit code. Raises Fenced."""
        self.spool.put(record)
        failpoint.hit("runner.exit.written")
        deadline = time.monotonic() + (5.0 if self.watch.is_termed else FULL_S)
        while not self.spool.push() and time.monotonic() < deadline:
            signals.wait(1.0)
        self.spool.sync()
        if self.spool.error is not None:
            return _say(
                "its end cannot be recorded: %s" % words(self.spool.error), claim.UNRECORDED
            )
        failpoint.hit("runner.exit.synced")
        if not self.spool.close():
            raise Fenced("a later restart of this job took over while this one ended")
        failpoint.hit("runner.closed")
        return exit_code(record)

    def _fenced(self, why: str) -> int:
        self.watch.note("fenced: %s" % why)
        seen = Seen(None, signal.SIGKILL, True)  # never sealed, and the last exit record counts
        self.spool.put(self._exit(dict(verdict(seen), detail="fenced: %s" % why)))
        self.spool.sync()
        return _say(why, claim.FENCED)


def _again(before: "dict[str, Any]") -> str:
    return before["detail"] or "an earlier restart had ended by itself: nothing was run again"
