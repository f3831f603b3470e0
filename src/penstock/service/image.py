"""Find the images that a spec's stages run in, before anything is stored."""

import os
from dataclasses import replace
from pathlib import Path

from penstock.errors import SpecError
from penstock.model.spec import Environment, Spec, Stage
from penstock.service.project import Project


def located(project: Project, spec: Spec) -> Spec:
    """Return the spec with its images by absolute paths. Raises SpecError, TransportError.

    On a cluster that is reached by SSH, they are the cluster's files.
    """
    return replace(spec, stages=tuple(_located(project, spec, one) for one in spec.stages))


def _located(project: Project, spec: Spec, stage: Stage) -> Stage:
    said = stage.environment
    if not said.apptainer:
        return stage
    alias = project.world.alias
    if alias:
        _check_there(project, spec, said, alias)
        return stage
    path = os.path.abspath(Path(spec.folder, said.apptainer))  # noqa: PTH100  links stay links
    _check_here(spec, said, Path(path))
    return replace(stage, environment=replace(said, apptainer=path))


def _check_here(spec: Spec, said: Environment, path: Path) -> None:
    if not os.path.lexists(path):
        raise _error(spec, said, f"there is no image {path}", "is the path right?")
    if not (path.is_file() or path.is_dir()):
        hint = "it is a .sif file or a sandbox folder"
        raise _error(spec, said, f"{path} is no file and no folder", hint)
    if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
        raise _error(spec, said, f"you may not read the image {path}", f"ls -l {path}")


def _check_there(project: Project, spec: Spec, said: Environment, alias: str) -> None:
    if not said.apptainer.startswith("/"):
        what = f"{said.apptainer} is relative, and images are not sent to {alias}"
        raise _error(spec, said, what, f"copy it there, and give its absolute path on {alias}")
    if project.world.transport.run(["test", "-r", said.apptainer]).code:
        what = f"there is no image {said.apptainer} on {alias} that you may read"
        raise _error(spec, said, what, "is the path one of that machine's?")


def _error(spec: Spec, said: Environment, what: str, hint: str) -> SpecError:
    line, column = said.at
    return SpecError(what, hint=hint, file=spec.file, line=line, column=column, key="env.apptainer")
