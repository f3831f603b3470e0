"""From a spec's text to a Spec: strict, so that a mistake is found here and not on a compute node.

Each part has a module: node (YAML with positions), command, axes (``params``), request, variables
(``env``). The keys are described in docs/reference/spec.md.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from penstock.errors import SpecError, UsageError
from penstock.model.spec import Spec, Stage
from penstock.planning.axes import sweep
from penstock.planning.command import command
from penstock.planning.document import read
from penstock.planning.node import Node
from penstock.planning.request import request
from penstock.planning.sweep import REPEAT
from penstock.planning.variables import APPTAINER, environment, password_in_url, variables
from penstock.wire import argv

NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}"  # of an experiment, a stage: also a folder's
NAME_IS = "a name: letters, digits, . _ and -, not . or - first, at most 100"
ONE_STAGE = "main"
_SPEC = ("experiment", "tags", "code", "stages")
_STAGE = (
    "command", "params", "repeat", "request", "env", "outputs", "metrics", "max_parallel",
)  # fmt: skip


def load(text: str, *, file: str, folder: str) -> Spec:
    """Return the spec in a file's text. Raises SpecError, with the place and what to do.

    ``file`` is for messages and the experiment's default name, ``folder`` is the code's.
    """
    _refuse_password(text, file)
    root = read(text, file)
    known = _SPEC if root.is_mapping and "stages" in root.mapping() else (*_SPEC, *_STAGE)
    keys = root.mapping(known) if known is not _SPEC else _with_stages(root)
    return Spec(
        experiment=_experiment(keys.get("experiment"), file),
        stages=_stages(root, keys),
        folder=folder,
        text=text,
        tags=_tags(keys.get("tags")),
        code=_paths(keys["code"], "code") if "code" in keys else None,
        file=file,
    )


def renamed(spec: Spec, experiment: str) -> Spec:
    """Return the spec for another experiment than it names. Raises UsageError."""
    if not re.fullmatch(NAME, experiment, re.ASCII):
        raise UsageError(f"the experiment {experiment!r} is not {NAME_IS}")
    return replace(spec, experiment=experiment)


def _refuse_password(text: str, file: str) -> None:
    at = password_in_url(text)
    if at is not None:
        raise SpecError(
            "a URL with a password in it: what a spec says is stored and shown",
            hint="keep the password in a file that only you can read",
            file=file,
            line=text.count("\n", 0, at) + 1,
            column=at - text.rfind("\n", 0, at),
        )


def _with_stages(root: Node) -> dict[str, Node]:
    keys = root.mapping()
    for name in _STAGE:
        if name in keys:
            hint = "move it into the stage that it is meant for"
            raise keys[name].error("this stands beside `stages`", hint, at_name=True)
    return root.mapping(_SPEC)


def _experiment(node: Node | None, file: str) -> str:
    if node is not None:
        return node.string(NAME, NAME_IS)
    name = PurePosixPath(file).stem
    if not re.fullmatch(NAME, name, re.ASCII):
        hint = "say `experiment: name`"
        raise SpecError(
            f"the file's name cannot be the experiment's: {name!r}", hint=hint, file=file
        )
    return name


def _stages(root: Node, keys: Mapping[str, Node]) -> tuple[Stage, ...]:
    if "stages" not in keys:
        return (_stage(ONE_STAGE, root, {name: keys[name] for name in _STAGE if name in keys}),)
    nodes = keys["stages"].mapping()
    if not nodes:
        raise keys["stages"].error("there is no stage here", "stages: {train: {command: …}}")
    for name, node in nodes.items():
        if not re.fullmatch(NAME, name, re.ASCII):
            raise node.error(f"{name!r} is not {NAME_IS}", at_name=True)
    return tuple(_stage(name, node, node.mapping(_STAGE)) for name, node in nodes.items())


def _stage(name: str, node: Node, keys: Mapping[str, Node]) -> Stage:
    if "command" not in keys:
        raise node.error("there is no command", "command: [python, train.py]")
    made = sweep(keys.get("params"), keys.get("repeat"))
    also = {REPEAT} if made.repeat > 1 else set()
    grids = [{name for axis in grid for name in axis.names} | also for grid in made.grids]
    names = set(made.names)
    env, runs_in = variables(keys.get("env")), environment(keys.get("env"))
    for key, value in (*env, *([(APPTAINER, runs_in.apptainer)] if runs_in.apptainer else ())):
        _refuse_placeholder(keys["env"].mapping()[key], value, names)
    return Stage(
        name=name,
        command=command(keys["command"], grids),
        sweep=made,
        request=request(keys.get("request")),
        env=env,
        environment=runs_in,
        outputs=_paths(keys["outputs"], "outputs", names) if "outputs" in keys else (),
        metrics_stdout=_metrics(keys.get("metrics")),
        max_parallel=keys["max_parallel"].whole(1) if "max_parallel" in keys else None,
    )


def _tags(node: Node | None) -> tuple[tuple[str, str], ...]:
    found = {} if node is None else node.mapping()
    for name, child in found.items():
        if not re.fullmatch(NAME, name, re.ASCII):
            raise child.error(f"{name!r} is not {NAME_IS}", at_name=True)
    return tuple((name, child.text()) for name, child in found.items())


def _refuse_placeholder(node: Node, text: str, names: set[str]) -> None:
    for name in sorted(names):
        if f"{{{name}}}" in text:
            hint = f"parameters go into the command; ${argv.variable(name)} has it everywhere"
            raise node.error(f"{{{name}}} stays as it is here", hint)


def _paths(node: Node, what: str, names: set[str] = frozenset()) -> tuple[str, ...]:  # type: ignore[assignment]
    """Return paths or globs below the folder."""
    nodes = node.items() if node.is_list else [node]
    for one in nodes:
        _check_path(one, what)
        if any(f"{{{name}}}" in one.text() for name in names):
            hint = "every run has a folder of its own: one name, or a glob (*), serves all"
            raise one.error("parameters are not put into outputs", hint)
    return tuple(dict.fromkeys(one.text() for one in nodes))


def _check_path(node: Node, what: str) -> None:
    path = node.text()
    if not path.isprintable() or not path.strip():
        raise node.error(f"{path!r} is not a path", "name a file, a folder or a glob")
    if path.startswith(("/", "~")):
        raise node.error(f"{path} is outside the folder", f"`{what}` are relative to it")
    if ".." in PurePosixPath(path).parts:
        raise node.error(f"{path} leaves the folder", "a path here has no `..`")
    if str(PurePosixPath(path)) == ".":
        hint = "name what is meant: results/, *.pkl"
        raise node.error(f"{path} is the whole folder", hint)


def _metrics(node: Node | None) -> str | None:
    """Return the regular expression for the log; "" takes ``name: value`` and ``name=value``."""
    if node is None:
        return None
    if not node.is_mapping:
        node.string("stdout", "stdout, or {stdout: 'regular expression'}")
        return ""
    keys = node.mapping(("stdout",))
    if "stdout" not in keys:
        raise node.error("nothing is said here", "metrics: stdout")
    return _expression(keys["stdout"])


def _expression(node: Node) -> str:
    text = node.text()
    hint = "it needs groups (?P<name>…) and (?P<value>…), or one named group for each metric"
    try:
        groups = re.compile(text).groupindex
    except (re.error, OverflowError, RecursionError) as error:
        raise node.error(f"this is no regular expression: {error}", hint) from error
    if not set(groups) - {"step"} or ("name" in groups and "value" not in groups):
        raise node.error("this regular expression names no metric", hint)
    return text
