"""What a user asks for: frozen, checked, and with nothing of YAML left in it."""

from dataclasses import dataclass, field
from typing import TypeAlias

Value: TypeAlias = "str | int | float | bool | list[Value] | dict[str, Value] | None"
Params: TypeAlias = dict[str, Value]


@dataclass(frozen=True)
class Request:
    """The resources of one run. None leaves a thing to the cluster's default."""

    cpus: int = 1
    gpus: int = 0
    mem_mb: int | None = None
    time_s: int | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    options: tuple[str, ...] = ()  # of sbatch, as written: ("--constraint=a100",)


@dataclass(frozen=True)
class Axis:
    """Names that change together, with their values in step: one name, or several (``zip``)."""

    names: tuple[str, ...]
    values: tuple[tuple[Value, ...], ...]  # each as long as the names


@dataclass(frozen=True)
class Sweep:
    """The parameters of a stage: every combination of each grid's axes, one grid after another.

    The last axis changes fastest. With ``repeat`` over 1 each combination comes that often, told
    apart by a parameter ``repeat`` from 0.
    """

    grids: tuple[tuple[Axis, ...], ...] = ((),)
    repeat: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the parameters, in the order of the spec."""
        named = [name for grid in self.grids for axis in grid for name in axis.names]
        return tuple(dict.fromkeys([*named, *(["repeat"] if self.repeat > 1 else [])]))


@dataclass(frozen=True)
class Environment:
    """What a command runs in; with nothing said, what the job is in."""

    apptainer: str = ""  # an image, a file or a sandbox folder; absolute once it is submitted
    at: tuple[int, int] = field(default=(0, 0), compare=False)  # line and column in the spec


@dataclass(frozen=True)
class Stage:
    """A command with parameters, a request, and what it makes."""

    name: str
    command: tuple[str, ...]
    sweep: Sweep = Sweep()
    request: Request = Request()
    env: tuple[tuple[str, str], ...] = ()
    environment: Environment = Environment()
    outputs: tuple[str, ...] = ()
    metrics_stdout: str | None = None  # a regular expression; "" takes `name: value`, `name=value`
    max_parallel: int | None = None


@dataclass(frozen=True)
class Spec:
    """A whole file."""

    experiment: str
    stages: tuple[Stage, ...]
    folder: str  # absolute: the spec's own, where the code is
    text: str  # as written
    tags: tuple[tuple[str, str], ...] = ()
    code: tuple[str, ...] | None = (
        None  # globs that narrow the code; None: all that git does not ignore
    )
    file: str = field(default="", compare=False)
