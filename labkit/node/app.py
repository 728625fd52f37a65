"""A node's HTTP face: its number, its state, its IDs, and a page to try them on.

The routes are Flask's; the OpenAPI document at /openapi.json is generated from them, and Swagger
UI at /swagger comes out of a package, with no request to the world outside.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

from flask import Response
from flask_openapi3 import Info, OpenAPI
from pydantic import BaseModel, Field
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from labkit.node.holder import Held, Refusal

_PROBLEM = "application/problem+json"
_RETRY_AFTER = "1"  # seconds


class NumberSource(Protocol):
    """What a node asks for its number: `Holder`, or the specimen in `original`."""

    def number(self, patience: float) -> Held:
        """The number, claimed if need be within `patience` seconds; raises `Refusal`."""

    def status(self) -> dict[str, Any]:
        """What is known, without claiming."""


class Status(BaseModel):
    """What a node knows about itself."""

    name: str
    number: int | None = Field(description="What /sequence would answer now")
    claimed: int | None = Field(description="The number of its claim, answerable or not")
    reason: str | None = Field(description="Why `number` is null")
    session: str | None = Field(description="The ZooKeeper session's id, in hexadecimal")
    connection: str = Field(description="CONNECTING, CONNECTED, SUSPENDED, LOST or CLOSED")
    session_timeout_ms: int | None = Field(description="As negotiated with the server")
    lease_ms: float | None = Field(description="How long `number` may be trusted")
    token: int | None = Field(description="The claim's fencing token")
    claim: str = Field(description="The algorithm: lowest-free or original")
    pid: int
    zookeeper: str = Field(description="Where it looks for ZooKeeper")


class Problem(BaseModel):
    """An RFC 9457 problem."""

    type: str
    title: str
    status: int
    detail: str
    reason: str = Field(
        description="no-connection, session-lost, lease-lapsed, still-claiming, no-free-number, …"
    )


def _problem_response(description: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {_PROBLEM: {"schema": Problem.model_json_schema()}},
    }


_UNAVAILABLE = {
    **_problem_response("There is no safe answer now; `reason` says why"),
    "headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "In seconds"}},
}

_NUMBER = {
    "description": "The node's sequence number",
    "content": {"application/json": {"schema": {"type": "integer", "minimum": 1}}},
    "headers": {
        "Fencing-Token": {
            "schema": {"type": "integer"},
            "description": "Grows with every claim of the number; a resource refuses older ones",
        },
        "Lease-Remaining-Ms": {
            "schema": {"type": "integer"},
            "description": "How long the answer may be trusted, from when it was sent",
        },
    },
}


def create_app(source: NumberSource, about: dict[str, Any], patience: float) -> OpenAPI:
    """The application of a node.

    `about` is the part of /status that does not change; a request waits at most `patience`
    seconds for a claim.
    """
    info = Info(
        title="Sequence node",
        version="1.0.0",
        description="A server that gets a unique sequence number from ZooKeeper.",
    )
    app = OpenAPI(__name__, info=info, doc_prefix="", static_folder=None)

    @app.get("/sequence", summary="The node's number", responses={200: _NUMBER, 503: _UNAVAILABLE})
    def sequence() -> Response:
        """The first request claims the lowest free number; later ones answer from memory."""
        try:
            held = source.number(patience)
        except Refusal as refusal:
            return unavailable(refusal)
        response = Response(b"%d" % held.number, mimetype="application/json")
        if held.token is not None and held.lease is not None:
            response.headers["Fencing-Token"] = str(held.token)
            response.headers["Lease-Remaining-Ms"] = str(int(held.lease * 1000))
        return response

    @app.get("/status", summary="What the node knows about itself", responses={200: Status})
    def status() -> dict[str, Any]:
        """Never claims a number."""
        return {**about, **source.status()}

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> AnyResponse:
        code = error.code or 500
        if code < 400:
            return AnyResponse(status=code, headers=dict(error.get_headers()))
        response = problem(code, error.name, error.description or error.name, "http")
        for name, value in error.get_headers():
            if name.lower() != "content-type":
                response.headers[name] = value
        return response

    return app


def unavailable(refusal: Refusal) -> Response:
    """The 503 that says why there is no safe answer."""
    response = problem(503, "No safe answer now", str(refusal), refusal.reason)
    response.headers["Retry-After"] = _RETRY_AFTER
    return response


def problem(status: int, title: str, detail: str, reason: str) -> Response:
    """An error in the form of RFC 9457."""
    body = {
        "type": "about:blank", "title": title, "status": status, "detail": detail, "reason": reason,
    }  # fmt: skip
    return Response(json.dumps(body), status=status, mimetype=_PROBLEM)
