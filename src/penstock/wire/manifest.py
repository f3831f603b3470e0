r"""The manifest of an array: what each of its elements runs.

A line of JSON (the header, for all), then ``size`` lines of twelve digits (the byte offset of each
entry), then ``size`` lines of JSON. So the runner of element *i* reads the header and its own entry
by two seeks, however large the array. See ``Header`` and ``Entry`` for the fields.
"""

import json

FORMAT = 1
_OFFSET = 13  # twelve digits and a newline

# Header (dict): what all elements share.
#   format int, token str, size int
#   command [str]           argv template (wire.argv)
#   env {str: str}          variables of the command
#   environment {"apptainer": str}   the image that the command runs in, "": none; may lack
#   code {"path","digest"} or None   archive that is unpacked into the working folder
#   scratch str or None     site's scratch folder; else $SLURM_TMPDIR, $TMPDIR, else `work`
#   work str                folder on project storage that serves where there is no scratch
#   results str             the results of a run go to results/<entry.folder>/
#   outputs [str]           paths or globs, relative to the working folder
#   metrics {"stdout": true or str} or {}     read metrics from the log (a regular expression)
#   beat_s float            how often the runner shows that it lives
# Entry (dict): {"run": "digits/7", "uid": str, "attempt": 1, "folder": "digits/7", "params": {…}}

_ENTRY = '{"run":%s,"uid":%s,"attempt":%d,"folder":%s,"params":%s}\n'
_COMPACT = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


def _line(value: object) -> bytes:
    whole = _COMPACT.encode(value)
    return whole.encode("utf-8", "backslashreplace") + b"\n"  # half a surrogate: JSON's escape


def entry(run: str, uid: str, attempt: int, params: str) -> bytes:
    """Return the line of an element; its parameters are JSON already, without a line break."""
    name = _COMPACT.encode(run)
    fields = (name, _COMPACT.encode(uid), attempt, name, params)
    return (_ENTRY % fields).encode("utf-8", "backslashreplace")


def encode(header: "dict[str, object]", entries: "list[bytes]") -> bytes:
    """Return the file for a header and its entries, in the order of their indices, from 0."""
    head = _line(dict(header, format=FORMAT, size=len(entries)))
    at = len(head) + _OFFSET * len(entries)
    offsets = []
    for line in entries:
        offsets.append(b"%012d\n" % at)
        at += len(line)
    return b"".join([head, *offsets, *entries])


def read(path: str, index: int) -> "tuple[dict[str, object], dict[str, object]]":
    """Return the header and the entry of ``index``.

    Raises OSError where the file cannot be read, ValueError where it is not a manifest of ours,
    IndexError where it has no such entry.
    """
    with open(path, "rb") as file:
        head = file.readline()
        header = json.loads(head.decode())
        if header.get("format") != FORMAT:
            raise ValueError("format %r of %s is not known here" % (header.get("format"), path))
        if not 0 <= index < header["size"]:
            raise IndexError("%s has no entry %d" % (path, index))
        file.seek(len(head) + _OFFSET * index)
        file.seek(int(file.read(_OFFSET)))
        return header, json.loads(file.readline().decode())
