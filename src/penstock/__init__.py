"""Job orchestration for Slurm: runs, arrays, and a record with the code that each ran.

This file is also in the zip that goes to compute nodes, so it is Python 3.6 and standard library.
There ``extend_path`` lets an installed Penstock supply the modules that the zip lacks.
"""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"

from penstock.tracking.client import (
    log_artifact,
    log_metric,
    log_metrics,
    log_params,
    params,
    set_tag,
)

__all__ = ["log_artifact", "log_metric", "log_metrics", "log_params", "params", "set_tag"]
