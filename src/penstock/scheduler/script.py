"""The script of an array, from a template.

``#SBATCH`` lines are not read by a shell but by sbatch (``_get_argument`` in its opt.c): quotes
group, a backslash quotes even within single quotes, ``#`` begins a comment. So ``sbatch`` and
``shell`` are two filters.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path

from jinja2 import (
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PrefixLoader,
    StrictUndefined,
    TemplateError,
    TemplateNotFound,
    TemplateSyntaxError,
)

from penstock.errors import SettingsError, UsageError
from penstock.model.spec import Request
from penstock.planning.units import slurm_time
from penstock.scheduler.protocol import Submission

TEMPLATE = "array.sh.j2"
BUNDLED = Path(__file__).parent.parent / "slurm_templates"
# All that the runner hears, and for which it gives the command the defaults back.
SIGNALS = "TERM USR1 USR2 INT HUP QUIT"
_TOKEN = re.compile(r"[a-z0-9-]{1,64}")
_LABEL = re.compile(r"[A-Za-z0-9._-]{1,150}")
_PLAIN = re.compile(r"[A-Za-z0-9_./:=,@%+-]+")
_HET_JOB = re.compile("(het|pack)(?=job)", re.IGNORECASE)


def render(submission: Submission, *, python: str, runner: str, templates: Sequence[Path]) -> str:
    """Return the script of an array.

    A file of the same name in one of ``templates``, the first first, goes before Penstock's own,
    which it may extend as "penstock/array.sh.j2" (blocks ``options`` and ``before``).
    Raises UsageError for a path that no script can hold, SettingsError for a template that fails.
    """
    _check(submission, python, runner)
    size = submission.size
    throttle = "" if submission.throttle is None else f"%{submission.throttle:d}"
    try:
        template = _environment(tuple(map(str, templates))).get_template(TEMPLATE)
        return template.render(
            name=f"{submission.token}.{submission.label}",
            token=submission.token,
            label=submission.label,
            array=f"0-{size - 1:d}{throttle}",
            size=size,
            throttle=submission.throttle,
            request=submission.request,
            folder=submission.folder,
            log=submission.log,
            python=python,
            runner=runner,
            signals=SIGNALS,
        )
    except TemplateError as error:
        raise _failed(error, templates) from error


@cache
def _environment(templates: tuple[str, ...]) -> Environment:
    environment = Environment(
        loader=ChoiceLoader(
            [
                FileSystemLoader([*templates, str(BUNDLED)]),
                PrefixLoader({"penstock": FileSystemLoader(str(BUNDLED))}),
            ]
        ),
        undefined=StrictUndefined,
        autoescape=False,  # it makes no HTML: `sbatch` and `shell` quote, each for its reader
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = {"sbatch": quote, "filename": filename, "shell": shlex.quote, "time": slurm_time}
    environment.filters.update(filters)
    return environment


def quote(text: str) -> str:
    """Return a word that sbatch reads from a ``#SBATCH`` line as this text.

    "hetjob" and "packjob" separate the components of a heterogeneous job, in some versions wherever
    they stand in such a line, so a backslash goes into them; 22.05 reads it as it is meant.
    """
    if _PLAIN.fullmatch(text) and not _HET_JOB.search(text):
        return text
    quoted = text.replace("\\", r"\\").replace('"', r"\"")
    return '"' + _HET_JOB.sub(r"\1\\", quoted) + '"'


def filename(path: str) -> str:
    """Return a path for --output, where ``%`` begins a replacement (sbatch(1), "filename")."""
    return path.replace("%", "%%")


# --- checks


def _check(submission: Submission, python: str, runner: str) -> None:
    """Refuse what would be more than a word in a script, whatever the template does with it."""
    if not _TOKEN.fullmatch(submission.token):
        raise UsageError(f"{submission.token!r} is no token of an array")
    if not _LABEL.fullmatch(submission.label):
        raise UsageError(f"{submission.label!r} cannot be in a job's name")
    if submission.size < 1 or (submission.throttle is not None and submission.throttle < 1):
        raise UsageError("an array has one run at least, of which one may run")
    for path in (submission.folder, submission.log):
        if "\\" in path or not path.startswith("/"):
            hint = "choose a home without a backslash in its path"
            raise UsageError(f"Slurm cannot write below {path!r}", hint=hint)
    for text in (submission.folder, submission.log, python, runner, *_texts(submission.request)):
        if not text.isprintable() or not text:
            hint = "control characters and line breaks have no place in a script"
            raise UsageError(f"{text!r} cannot be in a script", hint=hint)


def _texts(request: Request) -> list[str]:
    words = [getattr(request, field.name) for field in fields(request)]
    return [word for word in words if isinstance(word, str)] + list(request.options)


def _failed(error: TemplateError, templates: Sequence[Path]) -> SettingsError:
    if isinstance(error, TemplateNotFound):
        what = f"there is no template {error.name}"
    elif isinstance(error, TemplateSyntaxError):
        what = f"{error.filename or TEMPLATE}:{error.lineno}: {error.message}"
    else:
        what = f"the template {TEMPLATE} fails: {error.message}"
    folders = ", ".join(map(str, templates)) or "none"
    return SettingsError(what, hint=f"folders of your settings (`templates`): {folders}")
