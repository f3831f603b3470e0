"""The options of sbatch that say what a request asks for."""

from penstock.planning.units import slurm_time
from penstock.scheduler.protocol import Submission


def options(submission: Submission) -> list[str]:
    """Return sbatch's options for a request, as far as they decide whether it is accepted."""
    request = submission.request
    throttle = f"%{submission.throttle}" if submission.throttle else ""
    wanted: dict[str, object] = {
        "job-name": f"{submission.token}.{submission.label}",
        "array": f"0-{submission.size - 1}{throttle}",
        "cpus-per-task": request.cpus,
        "gres": f"gpu:{request.gpus}" if request.gpus else None,
        "mem": None if request.mem_mb is None else f"{request.mem_mb}M",
        "time": None if request.time_s is None else slurm_time(request.time_s),
        "partition": request.partition,
        "account": request.account,
        "qos": request.qos,
    }
    named = [f"--{key}={value}" for key, value in wanted.items() if value is not None]
    return [*named, *request.options]
