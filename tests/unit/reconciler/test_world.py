"""Whose lease may be taken over at once."""

import os
import pwd
import socket
import subprocess

import pytest

from penstock.reconciler.world import _began, _name, is_gone

HERE = socket.gethostname()


def test_process_that_lives_is_not_gone() -> None:
    assert not is_gone(f"{HERE}:{os.getpid()}:{_began(os.getpid())}")


def test_process_that_ended_is_gone() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        holder = f"{HERE}:{child.pid}:{_began(child.pid)}"
        child.kill()
    assert is_gone(holder)


def test_number_that_another_process_has_now_is_gone() -> None:
    assert is_gone(f"{HERE}:{os.getpid()}:1")


@pytest.mark.parametrize("holder", ["elsewhere:1:5", f"{HERE}:1", f"{HERE}:1:", "", "odd"])
def test_what_cannot_be_known_is_not_gone(holder: str) -> None:
    assert not is_gone(holder)


def test_users_of_this_machine_have_their_names() -> None:
    assert _name(os.getuid()) == pwd.getpwuid(os.getuid()).pw_name
    assert _name(4_000_000_001) == ""
