"""Check settings: their names, types and bounds, from files and from the environment.

To import pydantic takes a quarter of a second, so `files.py` asks only for what is new.
"""

import re
from dataclasses import MISSING, fields
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from penstock.errors import SettingsError
from penstock.settings.fields import Cluster, Settings


def checked(values: dict[str, Any], where: str) -> dict[str, Any]:
    """Return all settings as JSON has them; the environment goes before ``values``.

    Raises SettingsError, with ``where`` as the file that may be wrong.
    """
    try:
        return _Settings(**values).model_dump(mode="json")
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"setting {key}: {_what_is_wrong(first['type'], key) or first['msg']}",
            hint=f"it is set in {where}, your own or the site's file, or as PENSTOCK_{key.upper()}",
        ) from error


def _what_is_wrong(kind: str, key: str) -> str:
    if kind != "extra_forbidden":
        return ""
    known = _Cluster.model_fields if key.startswith("clusters.") else _Settings.model_fields
    near = get_close_matches(key.rpartition(".")[2], known, 1)
    return "there is no such setting" + (f"; did you mean {near[0]}?" if near else "")


class _Environment(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="PENSTOCK_", extra="forbid")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  pydantic passes all of them by name
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put files below the environment."""
        return env_settings, init_settings


def _model(kind: type, base: type[BaseModel], **other: Any) -> type[BaseModel]:
    """Return the check of a dataclass, by its fields' types, defaults and bounds."""
    made: dict[str, Any] = {}
    for one in fields(kind):
        default = ... if one.default is one.default_factory is MISSING else one.default
        if one.default_factory is not MISSING:
            default = one.default_factory()
        made[one.name] = other.get(one.name, one.type), Field(default, **one.metadata)
    made.pop("root", None)  # it is found, not set
    return create_model(kind.__name__, __base__=base, **made)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _named(clusters: dict[str, Any]) -> dict[str, Any]:
    for name in clusters:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,40}", name):
            raise ValueError(f"a cluster's name is letters, digits, - and _, not {name!r}")
    return clusters


_Cluster = _model(Cluster, _Strict)
_Settings = _model(
    Settings,
    _Environment,
    clusters=Annotated[
        dict[str, _Cluster],  # type: ignore[valid-type]  # a class that is made here
        AfterValidator(_named),
    ],
)
