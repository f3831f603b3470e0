r"""The spool: what one restart of one element told.

Each line is ``<crc32 in 8 hex digits> <json>\n``.
A record is a JSON object with ``k`` (its kind) and ``at`` (seconds since the epoch).
Kinds and their fields:
    open    token index restart job node pid     the first record, and the header of a claim
    start   argv folder                          the command was started
    beat    peak cpu                             bytes, seconds: the runner lives
    m       key steps times values               points of one metric, as columns of one length
    param   name value                           a parameter that the run itself told
    tag     name value
    output  path digest bytes                    a result that now stands below the run's folder
    note    what                                 something odd that a user should see
    term    signal                               a signal reached the runner
    exit    code signal cause detail peak cpu wall log sealed      the last record
``exit.sealed`` is true where the command ended by itself: no requeue may run it again.
Only whole lines with a right checksum count.
"""

import json
import zlib

_DECODER = json.JSONDecoder()


def encode(record: "dict[str, object]") -> bytes:
    """Return a record as its line."""
    body = json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8",
        "backslashreplace",  # half a surrogate: JSON's own escape for it
    )
    return b"%08x %s\n" % (zlib.crc32(body) & 0xFFFFFFFF, body)


def decode(data: bytes) -> "tuple[list[dict[str, object]], int, int]":
    """Return the records of whole lines, the bytes that these lines took, and how many were bad."""
    end = data.rfind(b"\n") + 1
    records = []
    bad = 0
    for line in data[:end].split(b"\n")[:-1]:
        try:
            body = line[9:]
            if int(line[:8], 16) != zlib.crc32(body) & 0xFFFFFFFF or line[8:9] != b" ":
                raise ValueError("checksum")
            text = body.decode()
            record, length = _DECODER.raw_decode(text)  # json.loads also looks for blanks
            if length != len(text):
                raise ValueError("more than one")
            record["k"]
        except (ValueError, KeyError, TypeError, RecursionError):  # [[[[… nests too deep
            bad += 1
        else:
            records.append(record)
    return records, end, bad
