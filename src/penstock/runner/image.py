"""Run a command in an Apptainer image: an argv around its argv, with the run's folder bound.

The environment passes into the image by itself, but for PATH, which is the image's own.
"""

import os

from penstock.runner.command import ahead, archive
from penstock.runner.trouble import Trouble

PROGRAMS = ("apptainer", "singularity")


def inside(
    image: str, argv: "list[str]", env: "dict[str, str]", folder: str, work: str, results: str
) -> "list[str]":
    """Return the argv that runs ``argv`` in the image, in ``work``; add to ``env`` what it needs.

    ``folder`` is the run's on scratch, and has ``work`` in it. Raises Trouble.
    """
    program = _program(env)
    if not os.access(image, os.R_OK):
        raise Trouble(
            "the image %s cannot be read on this node: is it on a file system that all nodes share?"
            % image
        )
    prefix = os.path.basename(program).upper()
    ahead(env, prefix + "ENV_PREPEND_PATH", os.path.join(folder, "bin"))
    env.setdefault(prefix + "_NO_EVAL", "1")  # or variables of that kind are read by a shell
    binds = [_bind(folder), _bind(archive()) + ":ro"]
    if os.path.isdir(results):
        binds.append(_bind(results))
    bound = [word for bind in binds for word in ("--bind", bind)]
    return [program, "exec", *bound, "--pwd", work, image, *argv]


def _program(env: "dict[str, str]") -> str:
    from shutil import which  # noqa: PLC0415  it takes time, and most runs have no image

    for name in PROGRAMS:
        found = which(name, path=env.get("PATH"))
        if found:
            return found
    raise Trouble(
        "there is no apptainer (or singularity) on this node's PATH, and the command is to run in "
        "an image: load its module before you submit, or ask for nodes that have it",
        127,
    )


def _bind(path: str) -> str:
    if set(path) & {":", ","}:
        raise Trouble("%s cannot be bound into an image: it has a : or a , in its path" % path)
    return path + ":" + path
