"""Frozen values as JSON, and back: what the store keeps whole because nobody searches in it."""

import json
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any

from penstock.model.spec import Environment, Params, Request, Stage, Sweep

_COMPACT = json.JSONEncoder(separators=(",", ":"))  # once: json.dumps would make one each time


def compact(value: object) -> str:
    """Return JSON of one line, in ASCII: so no database minds what stands in it."""
    return _COMPACT.encode(value)


def request_text(request: Request) -> str:
    """Return a request as JSON."""
    return compact(asdict(request))


@lru_cache(1024)  # a cycle reads its arrays again and again
def request_of(text: str) -> Request:
    """Return the request of a JSON text."""
    return _request(json.loads(text))


def stage_text(stage: Stage) -> str:
    """Return a stage as JSON, without its sweep: the runs are what it became."""
    body = asdict(replace(stage, sweep=Sweep(())))  # a sweep of thousands takes a while to copy
    del body["sweep"]
    body["environment"] = {"apptainer": stage.environment.apptainer}
    return compact(body)


def stage_of(text: str) -> Stage:
    """Return the stage of a JSON text; its sweep is empty."""
    body: dict[str, Any] = json.loads(text)
    body["request"] = _request(body["request"])
    body["command"] = tuple(body["command"])
    body["outputs"] = tuple(body["outputs"])
    body["env"] = tuple((name, value) for name, value in body["env"])
    body["environment"] = Environment(**body.get("environment", {}))  # older bodies have none
    return Stage(**body)


def params_of(text: str) -> Params:
    """Return the parameters of a JSON text."""
    params: Params = json.loads(text)
    return params


def _request(body: dict[str, Any]) -> Request:
    body["options"] = tuple(body["options"])
    return Request(**body)
