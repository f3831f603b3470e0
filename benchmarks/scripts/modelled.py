"""Make programs named sbatch, squeue … with a model of Slurm behind them, and count their calls.

The model really runs what is submitted. Each call leaves a line in a file: when, and which program.
"""

import sys
from pathlib import Path

from penstock.testing import programs

COUNTING = """\
#!/bin/sh
echo "$(date +%s.%N) {name}" >> '{calls}'
exec '{program}' "$@"
"""


def main(folder: Path, calls: Path, tasks: int) -> None:
    """Write the programs into a folder, for a cluster that runs so many tasks at once."""
    behind = folder.with_name(f"{folder.name}.model")
    state = folder.with_name(f"{folder.name}.state")
    programs.install(behind, state, site=programs.small(tasks), execute=True)
    folder.mkdir()
    for program in sorted(behind.iterdir()):
        path = folder / program.name
        path.write_text(COUNTING.format(name=program.name, calls=calls, program=program))
        path.chmod(0o755)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
