"""Programs that accept everything at once and run nothing: for benchmarks of what submits.

They cost as little as programs can: sbatch is a few lines of sh, and what it accepted is a line of
a file; squeue shows every array as pending, or cancelled where the whole of it was.
"""

import shlex
import sys
from dataclasses import replace
from pathlib import Path

from penstock.testing.commands import answer
from penstock.testing.model import Cluster
from penstock.testing.site import Site

SBATCH = """#!/bin/sh
# $1 … as sbatch's; the last word is the script.
short= ; test_only=
for word; do
  case "$word" in
    --version|-V) echo "slurm-wlm 22.05.8"; exit 0;;
    --parsable) short=1;;
    --test-only) test_only=1;;
  esac
  script="$word"
done
if [ -n "$test_only" ]; then
  echo "sbatch: Job 1 to start at 2026-01-01T00:00:00 using 1 processors on nodes n1" >&2
  exit 0
fi
[ -r "$script" ] || { echo "sbatch: error: Unable to open file $script" >&2; exit 1; }
read -r id < @STATE@/next || id=1
echo $((id + 1)) > @STATE@/next
echo "$id $script" >> @STATE@/accepted
if [ -n "$short" ]; then echo "$id"; else echo "Submitted batch job $id"; fi
"""

SQUEUE = """#!@PYTHON@ -SE
import re, sys
form, head, heads = "%i %P %j", True, @HEADS@
argv = sys.argv[1:]
while argv:
    word = argv.pop(0)
    if word in ("-h", "--noheader"):
        head = False
    elif word.startswith("--format="):
        form = word[9:]
    elif word in ("-o", "--format"):
        form = argv.pop(0)
    elif word == "--version":
        print("slurm-wlm 22.05.8")
        raise SystemExit
rows = [heads] if head else []
try:
    lines = open("@STATE@/accepted").read().splitlines()
except FileNotFoundError:
    lines = []
try:
    gone = set(open("@STATE@/cancelled").read().split())
except FileNotFoundError:
    gone = set()
for line in lines:
    id, script = line.split(" ", 1)
    text = open(script).read(4096)
    name = re.search(r"^#SBATCH (?:--job-name[= ]|-J ?)(\\S+)", text, re.M)
    array = re.search(r"^#SBATCH (?:--array[= ]|-a ?)(\\S+)", text, re.M)
    row = dict(heads)
    row.update(F=id, A=id, T="CANCELLED" if id in gone else "PENDING", t="PD", r="Priority")
    row.update(P="batch", u="@USER@", V="2026-01-01T00:00:00", S="N/A", e="N/A", N="")
    row.update(i=id + "_[" + array[1] + "]" if array else id, j=name[1] if name else "")
    row.update(K=array[1] if array else "N/A")
    rows.append(row)
out = [re.sub(r"%\\.?\\d*([A-Za-z])", lambda m: row.get(m[1], "?"), form) + "\\n" for row in rows]
sys.stdout.write("".join(out))
"""

SCANCEL = """#!/bin/sh
for word; do case "$word" in -*|*_*) ;; *) echo "$word" >> @STATE@/cancelled;; esac; done
"""

SCONTROL = """#!/bin/sh
case "$*" in
  *conf*) cat @STATE@/config;;
  *part*) cat @STATE@/partitions;;
  *assoc*) cat @STATE@/associations;;
esac
"""

SACCT = """#!/bin/sh
form=JobID,State; head=1
while [ $# -gt 0 ]; do
  case "$1" in
    --version|-V) echo "slurm-wlm 22.05.8"; exit;;
    --helpformat|-e) exec cat @STATE@/helpformat;;
    -n|--noheader) head=;;
    --format=*) form="${1#*=}";;
    -o|--format) form="$2"; shift;;
    -*o) form="$2"; shift;;
  esac
  shift
done
if [ -n "$head" ]; then echo "$form" | tr , '|'; fi
"""

NOTHING = "#!/bin/sh\nexit 0\n"
_HEADS = {
    "i": "JOBID", "F": "ARRAY_JOB_ID", "K": "ARRAY_TASK_ID", "A": "JOBID", "T": "STATE",
    "t": "ST", "r": "REASON", "j": "NAME", "u": "USER", "P": "PARTITION", "V": "SUBMIT_TIME",
    "S": "START_TIME", "e": "END_TIME", "N": "NODELIST",
}  # fmt: skip


def install_accept(
    folder: Path, state: Path, *, max_array_size: int = 1001, user: str = "alice"
) -> None:
    """Write the programs into a folder; what they accept is in ``state/accepted``."""
    folder.mkdir(parents=True, exist_ok=True)
    state.mkdir(parents=True, exist_ok=True)
    site = replace(Site(), max_array_size=max_array_size, enforce_limits=False)
    cluster = Cluster(site)
    texts = {
        "config": ("scontrol", "show", "config"),
        "partitions": ("scontrol", "--oneliner", "show", "partition"),
        "associations": ("scontrol", "show", "assoc_mgr", f"users={user}", "flags=assoc,qos"),
        "helpformat": ("sacct", "--helpformat"),
    }
    for name, argv in texts.items():
        (state / name).write_text(answer(cluster, argv, user="root").out)
    (state / "next").write_text("1\n")
    programs = {
        "sbatch": SBATCH,
        "squeue": SQUEUE,
        "scancel": SCANCEL,
        "scontrol": SCONTROL,
        "sacct": SACCT,
        "sacctmgr": NOTHING,
        "sdiag": NOTHING,
        "sinfo": NOTHING,
    }
    for name, text in programs.items():
        quoted = str(state) if name == "squeue" else shlex.quote(str(state))
        ready = text.replace("@PYTHON@", sys.executable).replace("@HEADS@", repr(_HEADS))
        program = folder / name
        program.write_text(ready.replace("@STATE@", quoted).replace("@USER@", user))
        program.chmod(0o755)


def accepted(state: Path) -> list[tuple[int, str]]:
    """Return job ids and scripts, in the order of their coming."""
    try:
        lines = (state / "accepted").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [(int(number), script) for number, _, script in (line.partition(" ") for line in lines)]
