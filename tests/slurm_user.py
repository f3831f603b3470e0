"""A transport that runs commands of the local Slurm as one of its ordinary users."""

import os
import pwd
from collections.abc import Sequence

from penstock.errors import TransportError
from penstock.testing.transport import in_turn
from penstock.transport.local import LocalTransport
from penstock.transport.protocol import Finished


class UserTransport(LocalTransport):
    """Run commands as another user: root's see all jobs, make other RPCs and skip limits."""

    def __init__(self, user: str) -> None:
        self.user = user
        environment = {"USER": user, "LOGNAME": user, "HOME": pwd.getpwnam(user).pw_dir}
        super().__init__({**os.environ, **environment})

    def run(self, argv: list[str], *, stdin: bytes = b"", timeout_s: float = 60) -> Finished:
        if os.getuid() == pwd.getpwnam(self.user).pw_uid:
            return super().run(argv, stdin=stdin, timeout_s=timeout_s)
        as_user = ["runuser", "-u", self.user, "--", *argv]
        return super().run(as_user, stdin=stdin, timeout_s=timeout_s)

    def run_all(
        self, argvs: Sequence[list[str]], *, timeout_s: float = 60
    ) -> list[Finished | TransportError]:
        return in_turn(self, argvs, timeout_s)
