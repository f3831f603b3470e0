"""Load paramiko, but invoke only when it is needed: half of the time goes into that.

paramiko asks invoke to run what ``Match exec`` of ~/.ssh/config says, and nothing else; it brings
asyncio, a YAML library and unittest.mock.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    """Stand for a module, and load it when something of it is wanted."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


if "invoke" not in sys.modules:
    sys.modules["invoke"] = _Later("invoke")

import paramiko  # noqa: E402  after it

__all__ = ["paramiko"]
