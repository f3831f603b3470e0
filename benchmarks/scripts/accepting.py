"""Make programs named sbatch, squeue … that accept at once, as the benchmark of many runs asks."""

import sys
from pathlib import Path

from penstock.testing.accept import install_accept


def main(folder: Path, state: Path, user: str) -> None:
    """Write them; srun only has to be there, for peers that look for it."""
    install_accept(folder, state, user=user)
    (folder / "srun").write_text("#!/bin/sh\nexit 1\n")
    (folder / "srun").chmod(0o755)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
