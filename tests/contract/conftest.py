"""What the suites that ask Slurm's programs share."""

from collections.abc import Iterator

import pytest

from tests.contract.programs import Model, Real, Slurm


@pytest.fixture(params=["model", pytest.param("real", marks=pytest.mark.slurm)])
def slurm(request: pytest.FixtureRequest) -> Iterator[Slurm]:
    chosen: Slurm = Model() if request.param == "model" else Real()
    yield chosen
    if request.param == "real":
        chosen.run("scancel", "--me", "--name=tok-1.label")
