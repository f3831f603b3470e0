"""``env`` of a spec: variables of its command, and the image that it runs in.

What a spec says is stored, shown and sent along; a password in it would be everybody's.
"""

import re

from penstock.model.spec import Environment
from penstock.planning.node import Node

APPTAINER = "apptainer"  # not a variable: the image
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_OWNED = ("PENSTOCK_", "SLURM_", "SBATCH_", "SRUN_")
_SECRET = re.compile(
    r"(?:^|[_.-])(?:SECRETS?|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|API_?KEYS?"
    r"|(?:SECRET|ACCESS|PRIVATE)_?KEY(?:_ID)?|(?P<token>TOKEN))(?:$|[_.-])",
    re.IGNORECASE,
)
_ITS_PLACE = re.compile(r"[_.-](?:FILE|PATH|DIR)$", re.IGNORECASE)  # where it is, not what it is
_AN_IMAGE = "a .sif file or a sandbox folder, relative to the spec's folder or absolute"
_IN_URL = re.compile(r"://[^/\s:@'\"]*:[^/\s@'\"{}]+@")


def environment(node: Node | None) -> Environment:
    """Return what a stage's command runs in. Raises SpecError.

    Whether the image is there is asked at submit, where it will be used.
    """
    found = {} if node is None else node.mapping()
    if APPTAINER not in found:
        return Environment()
    image = found[APPTAINER]
    path = image.text()
    if not path.strip() or not path.isprintable():
        raise image.error(f"{path!r} is not the path of an image", _AN_IMAGE)
    if "://" in path:
        hint = f"nothing is fetched on a node: apptainer pull image.sif {path}"
        raise image.error(f"{path} is not the path of an image", hint)
    if path.startswith("~"):
        raise image.error(f"{path}: ~ stands for nothing here", _AN_IMAGE)
    return Environment(path, image.place)


def variables(node: Node | None) -> tuple[tuple[str, str], ...]:
    """Return the variables that a stage sets for its command. Raises SpecError."""
    found = {} if node is None else dict(node.mapping())
    found.pop(APPTAINER, None)
    for name, child in found.items():
        if not re.fullmatch(_NAME, name, re.ASCII):
            hint = "letters, digits and _, no digit first"
            raise child.error(f"{name!r} is no name for a variable", hint, at_name=True)
        if name.upper().startswith(_OWNED):
            hint = "take another name; parameters come as PENSTOCK_PARAM_… by themselves"
            raise child.error(f"{name} belongs to Penstock or Slurm", hint, at_name=True)
        refuse_secret(name, child, is_variable=True)
    return tuple((name, _one(child)) for name, child in found.items())


def _one(node: Node) -> str:
    if node.tag == "null":
        raise node.error("this variable has no value", 'for an empty one, write ""')
    return node.text()


def refuse_secret(name: str, node: Node, *, is_variable: bool = False) -> None:
    """Refuse a name that looks like a secret's; a parameter may be a token: models have some."""
    match = _SECRET.search(name)
    if match is None or _ITS_PLACE.search(name) or (match["token"] and not is_variable):
        return
    raise node.error(
        f"{name} looks like a secret, and what a spec says is stored and shown",
        "keep it in a file that only you can read (chmod 600), and have the command read it there",
        at_name=True,
    )


def password_in_url(text: str) -> int | None:
    """Return where in a text a URL with a password begins."""
    match = _IN_URL.search(text)
    return match.start() if match else None
