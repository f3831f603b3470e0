"""What a user of submitit writes: one function over a grid; optionally wait for all results."""

import sys

import submitit


def train(lr: float, seed: int) -> float:
    """Stand for a model."""
    return lr * seed


def main(folder: str, runs: int, is_waiting: bool) -> None:
    """Submit the grid, and wait for its results."""
    side = round(runs**0.5)
    lrs = [0.001 * (1 + number // side) for number in range(runs)]
    seeds = [number % side for number in range(runs)]
    executor = submitit.AutoExecutor(folder, cluster="slurm")
    executor.update_parameters(
        slurm_mem="200M",
        slurm_partition="batch",
        slurm_array_parallelism=runs,
        timeout_min=10,
        name="grid",
    )
    jobs = executor.map_array(train, lrs, seeds)
    if is_waiting:
        print(sum(job.result() for job in jobs))
    else:
        print(len(jobs), "jobs", jobs[0].job_id)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), "--wait" in sys.argv)
