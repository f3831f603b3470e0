"""Put the runner where compute nodes find it: one zip, named by its digest, written once."""

import hashlib
import io
import zipfile
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePath

from penstock.transport.protocol import Transport

FOLDERS = ("wire", "runner", "tracking")
FILES = ("__init__.py", "failpoint.py")
MAIN = b'''"""What `python3 runner.zip` runs: the runner of an element, or `penstock-log`."""
import sys

if sys.argv[1:2] == ["log"]:
    from penstock.tracking.log import main

    sys.exit(main(sys.argv[2:]))
from penstock.runner.__main__ import main

sys.exit(main(sys.argv[1:]))
'''


@cache
def build() -> tuple[str, bytes]:
    """Return the digest and the bytes of the runner: the same for the same sources, anywhere."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:  # what zlib makes may differ
        for name, body in sorted(_sources().items()):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # Unix
            info.external_attr = 0o644 << 16
            archive.writestr(info, body)
    whole = out.getvalue()
    return hashlib.sha256(whole).hexdigest()[:16], whole


def install(transport: Transport, home: PurePath | str) -> str:
    """Return the path of the runner below ``home``; put it there if it is not there, whole."""
    digest, whole = build()
    path = f"{home}/runner-{digest}.zip"
    # By its content: jobs of ours run it.
    if transport.digest(path) != hashlib.sha256(whole).hexdigest():
        transport.put(path, whole)
    return path


def _sources() -> dict[str, bytes]:
    package = files("penstock")
    sources = {f"penstock/{name}": (package / name).read_bytes() for name in FILES}
    for folder in FOLDERS:
        sources |= _modules(package / folder, f"penstock/{folder}")
    return {"__main__.py": MAIN, **sources}


def _modules(folder: Traversable, path: str) -> dict[str, bytes]:
    return {
        f"{path}/{entry.name}": entry.read_bytes()
        for entry in folder.iterdir()
        if entry.name.endswith(".py")
    }
