"""How long after its end submitit tells of a run: local processes, looked at as Job.wait() does.

Job.done() looks for the file of the result. On Slurm a job that left none is asked of sacct, at
first after 2 s, later each 10 min: here all leave one.
"""

import json
import sys
import time

import submitit

LOOK_S = 1  # as Job.wait() sleeps


def train(seconds: float) -> float:
    """Stand for a model; return when it ended."""
    time.sleep(seconds)
    return time.time()


def main(folder: str, tasks: int, durations: list[float]) -> None:
    """Run them, so many at once; print how late each end was told."""
    executor = submitit.LocalExecutor(folder)
    waiting, late_s = list(durations), list[float]()
    running: list[submitit.Job[float]] = []
    while waiting or running:
        while waiting and len(running) < tasks:
            running.append(executor.submit(train, waiting.pop()))
        time.sleep(LOOK_S)
        done = [job for job in running if job.done()]
        now = time.time()
        late_s += [now - job.result() for job in done]
        running = [job for job in running if job not in done]
    print(json.dumps(late_s))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]))
