"""Factories make values that are whole, and take what a test is about."""

from pathlib import Path

from penstock.model.state import State
from penstock.testing import factories as make


def test_every_factory_makes_a_value(tmp_path: Path) -> None:
    made = [
        getattr(make, name)()
        for name in dir(make)
        if name.startswith("make_") and name not in ("make_settings", "make_sweep")
    ]
    assert len({type(value) for value in made}) == len(made)
    assert make.make_settings(tmp_path / "p", poll_s=5).poll_s == 5


def test_factory_takes_fields() -> None:
    assert make.make_known(State.RUNNING, restart=2).restart == 2
    assert make.make_task("PENDING", reason="Priority").reason == "Priority"
    assert make.make_sweep(lr=[0.1, 0.2]).names == ("lr",)


def test_exit_by_a_signal_is_not_sealed() -> None:
    assert make.make_exit(3).is_sealed
    ended = make.make_exit(signal=9)
    assert (ended.code, ended.signal, ended.is_sealed) == (None, 9, False)
