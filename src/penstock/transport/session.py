"""A session on a remote: the program that serves there, over a connection that others use too."""

import contextlib
import json
import os
import secrets
import threading
import time
from collections.abc import Callable
from errno import ENOENT
from pathlib import Path
from typing import Any

from penstock import failpoint
from penstock.errors import Denied, Lost, Unreachable
from penstock.settings import Cluster
from penstock.transport import agent as agents
from penstock.transport import login
from penstock.transport.agent import Agent, Gone, Said, Silence
from penstock.transport.library import paramiko
from penstock.transport.trunk import BROKEN, Trunk

# After such a time it is looked whether the connection still is one, before it is trusted with what
# may not be done twice. All else needs no such look, however long nobody asked: an error, or
# silence (the kernel gives up soon, see login), tells that it is gone, and it is asked again.
IDLE_S = 20
PING_S = 10


class Session:
    """Ask the program of a cluster, which is begun when it is needed."""

    def __init__(self, name: str, cluster: Cluster, trunk: Trunk) -> None:
        self.name, self._cluster, self._trunk = name, cluster, trunk
        self._host = trunk.host
        self._login = trunk.state.with_name(f"{trunk.state.name}.{name}.login.json")
        self._lock = threading.RLock()
        self._connection: login.Connection | None = None  # on which its channel is
        self._channel: Any = None
        self._agent: Agent | None = None
        self._asked_at = self._used_at = 0.0
        self._noted: dict[str, str] = {}

    def hello(self) -> Said:
        """Return what the remote said of itself."""
        with self._lock:
            return self._ready(is_safe=True).hello

    def recall(self, key: str) -> str:
        """Return what was remembered; empty: nothing."""
        return self._noted.get(key, "")

    def remember(self, key: str, what: str) -> None:
        """Remember something for as long as this is kept."""
        self._noted[key] = what

    def close(self) -> None:
        """End the program there, and the connection."""
        with self._lock:
            self._drop()
            self._trunk.close()

    def ask(
        self, said: Said, body: bytes = b"", *, timeout_s: float, is_safe: bool
    ) -> tuple[Said, bytes]:
        """Return the answer. Raises Unreachable or Lost."""
        with self._lock:
            for is_last in (not is_safe, True):
                agent = self._ready(is_safe=is_safe)
                try:
                    answer = self._once(agent, said, body, timeout_s)
                except BROKEN as error:
                    self._drop(is_silent=isinstance(error, TimeoutError))
                    if is_last:
                        raise self._lost(said, error) from error
                else:
                    break
            else:
                raise AssertionError
            if self._is_stale(said, answer[0]):
                return self.ask(said, body, timeout_s=timeout_s, is_safe=is_safe)
            return answer

    def _once(self, agent: Agent, said: Said, body: bytes, timeout_s: float) -> tuple[Said, bytes]:
        names = [argv[0] for argv in said.get("argvs", [said.get("argv", [])]) if argv]
        self._trunk.count(" ".join([said["verb"], *names]))
        failpoint.hit("ssh.asking")
        self._asked_at = time.monotonic()
        answer, data = agent.ask(said, body, timeout_s)
        failpoint.hit("ssh.answered")
        self._heard()
        self._keep_login(answer)
        return answer, data

    def _lost(self, said: Said, error: Exception) -> Lost:
        what = said["argv"][0] if said["verb"] == "run" else said["verb"]
        why = "it does not answer any more" if isinstance(error, TimeoutError) else str(error)
        return Lost(
            f"the connection to {self._host} was lost before {what} was answered: {why}",
            hint="it may have been done or not; that is looked up when the connection is back",
        )

    # --- the connection

    def _ready(self, *, is_safe: bool) -> Agent:
        """Return the program that serves there; connect and send it where that must be."""
        if self._agent is not None and self._is_well(self._agent, is_safe=is_safe):
            return self._agent
        self._agent = self._trunk.begin(self._begin, self._cluster.connect_s)
        return self._agent

    def _is_well(self, agent: Agent, *, is_safe: bool) -> bool:
        if self._connection is None or not self._connection.is_open or self._channel.closed:
            self._drop()
            return False
        if is_safe or time.monotonic() - self._used_at < IDLE_S:
            return True
        self._trunk.count("ping")
        self._asked_at = time.monotonic()
        try:
            agent.ask({"verb": "ping"}, b"", PING_S)
        except BROKEN as error:
            self._drop(is_silent=isinstance(error, TimeoutError))
            return False
        self._heard()
        return True

    def _heard(self) -> None:
        self._used_at = time.monotonic()
        self._trunk.hear()

    def _drop(self, *, is_silent: bool = False) -> None:
        """Give up the program there; the connection too, if it is closed or silent."""
        self._agent = None
        if self._channel is not None:
            with contextlib.suppress(*BROKEN):
                self._channel.close()
            self._channel = None
        connection, self._connection = self._connection, None
        if connection is not None and (is_silent or not connection.is_open):
            self._trunk.give_up(connection, self._asked_at)

    # --- the program that serves there

    def _begin(self, connection: login.Connection) -> Agent:
        cluster, self._asked_at = self._cluster, time.monotonic()
        self._connection = connection
        try:
            line = agents.command(cluster.python)
            self._channel = connection.command(line, cluster.connect_s)
            agent = Agent(self._channel)
            said = agent.begin(
                path=cluster.path, is_login=cluster.login_shell, login=self._remembered()
            )
        except Gone as error:
            raise self._not_begun(error) from error
        except Silence as error:
            self._drop()
            raise Unreachable(f"{self._host}: {error.what}", hint=error.hint) from error
        except BROKEN as error:
            # One that refuses a channel is not silent, and others have theirs.
            self._drop(is_silent=not isinstance(error, paramiko.ChannelException))
            raise Unreachable(
                f"{self._host} lets us in, but begins no command: {error or type(error).__name__}",
                hint=f"does `ssh {self._host.name} true` end? a .bashrc may wait for something",
            ) from error
        self._heard()
        self._keep_login(said)
        return agent

    def _not_begun(self, error: Gone) -> Unreachable:
        """Return why our program did not begin, from what was printed in its place."""
        channel, self._agent = self._channel, None
        words = error.noise
        code = -1
        with contextlib.suppress(*BROKEN):
            channel.settimeout(2)
            while more := channel.recv_stderr(1 << 16):
                words += more
        with contextlib.suppress(*BROKEN):
            code = channel.recv_exit_status() if channel.status_event.wait(5) else -1
        self._drop()
        shown = words.decode(errors="replace").strip()[-500:]
        python = self._cluster.python
        if code == 127 or "not found" in shown:
            return Unreachable(
                f"{self._host} has no {python}: {shown}",
                hint=f"name one: `python` in [clusters.{self.name}]; 3.6 or later",
            )
        if code == -1 and not shown:
            return Unreachable(
                f"{self._host} closed the connection before a command began",
                hint="is its disk full, or a limit on logins reached? it is tried again later",
            )
        return Denied(
            f"{self._host} lets us in, but runs no command; it says: {shown or 'nothing'}",
            hint="the account may be locked, or its .bashrc end the shell: "
            f"`ssh {self._host.name} true` must end without a word",
        )

    # --- what a login shell there has set

    def _remembered(self) -> dict[str, str]:
        try:
            found = json.loads(self._login.read_text())
            return {str(key): str(value) for key, value in found.items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def _keep_login(self, said: Said) -> None:
        if found := said.get("login"):
            self._replace(self._login, json.dumps(found))

    def _is_stale(self, said: Said, answer: Said) -> bool:
        """Forget a login shell's PATH by which a program is not found any more."""
        told = answer.get("told", [answer] if said["verb"] == "run" else [])
        if all(one.get("errno") != ENOENT for one in told) or not self._login.exists():
            return False
        is_new = "login" in answer
        self._login.unlink(missing_ok=True)
        self._drop()
        return not is_new and not self._cluster.login_shell

    def _replace(self, path: Path, text: str) -> None:
        aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        with contextlib.suppress(OSError):
            aside.write_text(text)
            aside.replace(path)


def on_terminal() -> Callable[[str, list[tuple[str, bool]]], list[str]]:
    """Return what asks a person on this process's terminal."""
    import getpass  # noqa: PLC0415  seldom needed

    def ask(title: str, questions: list[tuple[str, bool]]) -> list[str]:
        with open("/dev/tty", "r+b", buffering=0) as raw:  # noqa: PTH123
            os.write(raw.fileno(), f"{title}\n".encode())
            answers = []
            for prompt, is_shown in questions:
                if is_shown:
                    os.write(raw.fileno(), prompt.encode())
                    answers.append(raw.readline().decode().rstrip("\n"))
                else:
                    answers.append(getpass.getpass(prompt))
            return answers

    return ask
