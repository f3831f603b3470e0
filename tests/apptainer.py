"""Apptainer for tests: the real one where it is installed, and a program that stands for it.

The stand-in keeps what the real one was seen to do: the environment passes, PATH does not.
"""

import os
import shutil
import sys
from pathlib import Path

MISSING = "needs Apptainer (Debian has it in sid: apptainer)"
STAND_IN = """\
#!{python}
import json, os, sys
words = sys.argv[1:]
with open({said!r}, "a") as file:
    file.write(json.dumps([os.path.basename(sys.argv[0]), *words]) + "\\n")
assert words.pop(0) == "exec"
binds = []
while words[0].startswith("--"):
    option, value = words.pop(0), words.pop(0)
    if option == "--bind":
        source, dest, *_ = value.split(":")
        assert os.path.exists(source), source
        binds.append(dest)
    elif option == "--pwd":
        os.chdir(value)
    else:
        sys.exit("unknown option " + option)
image = words.pop(0)
assert os.path.isfile(image), image
name = os.path.basename(sys.argv[0]).upper()
env = {{key: value for key, value in os.environ.items() if not key.startswith(name)}}
front = os.environ.get(name + "ENV_PREPEND_PATH")
env["PATH"] = (front + ":" if front else "") + {path!r}
env["INSIDE"] = image
os.execvpe(words[0], words, env)
"""


def is_here() -> bool:
    """Say whether it is installed."""
    return bool(shutil.which("apptainer") or shutil.which("singularity"))


def stand_in(
    place: Path, name: str = "apptainer", *, python: str = sys.executable
) -> tuple[Path, Path]:
    """Return a folder for PATH with the program, and the file of what it was called with."""
    folder, said = place / "programs", place / "said"
    folder.mkdir(exist_ok=True)
    text = STAND_IN.format(python=python, said=str(said), path=os.environ["PATH"])
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)
    return folder, said


def sandbox(folder: Path) -> Path:
    """Return an image: a folder that has nothing of its own but a mark; /usr is bound into it."""
    for name in ("dev", "proc", "sys", "tmp", "etc", "usr", "root", "home", "var/tmp"):
        (folder / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        if Path("/", name).is_symlink():
            (folder / name).symlink_to(f"usr/{name}")
    (folder / "in-the-image").write_text("yes")
    for name in ("passwd", "group", "hosts", "resolv.conf", "localtime"):
        (folder / "etc" / name).touch()
    return folder
