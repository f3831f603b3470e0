#!/usr/bin/env bash
# The main job on this machine, with no Slurm: a sweep of small models, and the best of them.
# `make demo` calls this with .venv/bin first on PATH.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v penstock >/dev/null || { echo "penstock is not on PATH: call me as  make demo" >&2; exit 1; }

bold="" dim="" plain=""
if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; fi
say() { printf '\n%s%s%s\n' "$dim" "$*" "$plain"; }
run() { printf '%s$ %s%s\n' "$bold" "$*" "$plain"; "$@"; }

# A folder of its own for each demo: the runs of one that was left may still be at work.
mkdir -p build
folder="$(mktemp -d build/demo.XXXXXX)"
cp examples/digits/* "$folder"
cd "$folder"
export PENSTOCK_SCHEDULER=local  # here, even where there is a Slurm

say "# A project is a folder: $PWD"
run penstock init

say "# The spec: twelve small neural networks that learn to read digits"
run cat sweep.yaml

say "# Submit it: every run is stored, then sent"
run penstock submit sweep.yaml

say "# Watch: nothing needs this, and Ctrl-C would leave the runs alone"
run penstock watch digits

say "# The runs, best first"
run penstock runs digits --sort -metrics.accuracy

best() { penstock runs digits --sort -metrics.accuracy --limit 1 --csv --columns "$1" | tail -n 1; }
say "# All that is known of the best one"
run penstock show "$(best run)"

say "# Its model is in $(best folder):"
run ls -l "$(best folder)"
say "# More to try: cd $folder; penstock logs $(best run); penstock status; penstock --help"
