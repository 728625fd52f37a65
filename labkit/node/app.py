"""A node's HTTP face: its number, its state, its IDs, and a page to try them on.

The routes are Flask's; the OpenAPI document at /openapi.json is generated from them, and Swagger
UI at /swagger comes out of a package, with no request to the world outside.
"""

from __future__ import annotations

import json
from typing import Any, Literal, cast

from flask import Response, redirect
from flask_openapi3 import Info, OpenAPI, Server
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from labkit.node.claimant import Claimant, Refusal
from labkit.node.snowflake import Ids

MAX_IDS = 100_000

_PROBLEM = "application/problem+json"
_RETRY_AFTER = "1"  # seconds


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
    claim: str = Field(description="The algorithm: lowest-free, original, or FILE.py:CLASS")
    pid: int
    lab: str | None = Field(description="The lab that started it; null if none did")
    zookeeper: str | None = Field(description="The ZooKeeper server it is connected to")


class Problem(BaseModel):
    """An error in the form of RFC 9457."""

    type: str
    title: str
    status: int
    detail: str = Field(description="What is wrong, for people")
    reason: str = Field(
        description="What is wrong, for programs. With 503: no-connection, session-lost, "
        "lease-lapsed, still-claiming or no-free-number; of a server of your own unavailable, "
        "error, wrong-answer, starting or still-running; for IDs also clock-behind, reservation "
        "or worker-out-of-range"
    )


class Id(BaseModel):
    """One ID, twice, because JavaScript's numbers have only 53 bits."""

    id: int
    id_str: str = Field(pattern=r"^\d+$")


class IdsQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    count: int = Field(1, ge=1, le=MAX_IDS, description="How many")
    type: Literal["string", "integer"] = Field(
        "string", description="Of the array's items; JavaScript loses bits of integers"
    )


def _header(type: str, description: str) -> dict[str, Any]:
    return {"schema": {"type": type}, "description": description}


def _problem(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {_PROBLEM: {"schema": schema}}}


_UNAVAILABLE = {
    **_problem("There is no safe answer now; `reason` says why"),
    "headers": {"Retry-After": _header("integer", "In seconds")},
}

_NUMBER = {
    "description": "The node's sequence number",
    "content": {"application/json": {"schema": {"type": "integer", "minimum": 1}}},
    "headers": {
        "Fencing-Token": _header(
            "integer", "Grows with every claim of the number; a resource refuses older ones"
        ),
        "Lease-Remaining-Ms": _header(
            "integer", "How long the answer may be trusted, from when it was sent"
        ),
    },
}

_IDS = {
    "description": "The IDs, in order",
    "content": {
        "application/json": {
            "schema": {
                "type": "array",
                "items": {"oneOf": [{"type": "string", "pattern": r"^\d+$"}, {"type": "integer"}]},
            }
        }
    },
}


def create_app(
    claimant: Claimant, ids: Ids, about: dict[str, Any], request_deadline: float
) -> OpenAPI:
    """The application of a node.

    `about` is the part of /status that does not change; a request waits at most `request_deadline`
    seconds for a claim.
    """
    app = OpenAPI(
        __name__,
        info=Info(
            title="Sequence node",
            version="1.0.0",
            description="A server that gets a unique sequence number from ZooKeeper.",
        ),
        doc_prefix="",
        servers=[Server(url=".")],  # where the document is, also behind a proxy's prefix
        static_folder=None,
        validation_error_callback=_unprocessable,
        validation_error_model=Problem,
    )

    _serve_number(app, claimant, about, request_deadline)
    _serve_ids(app, ids)
    app.register_error_handler(Refusal, _unavailable)
    app.register_error_handler(HTTPException, _http_error)
    app.view_functions["openapi.openapi"] = lambda: redirect("swagger")  # instead of a list of UIs
    _document_only_what_happens(app)
    return app


def _serve_number(
    app: OpenAPI, claimant: Claimant, about: dict[str, Any], request_deadline: float
) -> None:
    @app.get(
        "/sequence",
        operation_id="sequence",
        summary="The node's number",
        responses={200: _NUMBER, 503: _UNAVAILABLE},
    )
    def sequence() -> Response:
        """The first request claims the lowest free number; later ones answer from memory."""
        held = claimant.number(request_deadline)
        response = Response(b"%d" % held.number, mimetype="application/json")
        if held.token is not None:
            response.headers["Fencing-Token"] = str(held.token)
        if held.lease is not None:
            response.headers["Lease-Remaining-Ms"] = str(int(held.lease * 1000))
        return response

    @app.get(
        "/status",
        operation_id="status",
        summary="What the node knows about itself",
        responses={200: Status},
    )
    def status() -> dict[str, Any]:
        """Never claims a number."""
        return {**about, **claimant.status()}

    # flask-openapi3 wraps a view to validate its parameters and its answer. This one has nothing
    # to validate, and is asked often.
    app.view_functions["sequence"] = sequence


def _serve_ids(app: OpenAPI, ids: Ids) -> None:
    @app.get("/id", operation_id="id", summary="A fresh ID", responses={200: Id, 503: _UNAVAILABLE})
    def id() -> dict[str, Any]:
        """A 64-bit Snowflake ID with the node's number as its worker. Claims one if need be."""
        fresh = ids.next_id()
        return {"id": fresh, "id_str": str(fresh)}

    @app.get(
        "/ids",
        operation_id="ids",
        summary="Many fresh IDs",
        responses={
            200: _IDS,
            422: _problem("`count` or `type` is not what it may be"),
            503: _UNAVAILABLE,
        },
    )
    def many(query: IdsQuery) -> Response:
        """Snowflake IDs, strictly increasing, as an array of decimal strings or of integers."""
        fresh = map(str, ids.ids(query.count))
        body = '["' + '","'.join(fresh) + '"]' if query.type == "string" else f"[{','.join(fresh)}]"
        return Response(body, mimetype="application/json")


def _document_only_what_happens(app: OpenAPI) -> None:
    """Take out the validation errors of operations that have no parameters, and ways to log in:
    there are none, and Swagger UI would show a button for them.
    """
    app.api_doc["components"].pop("securitySchemes", None)
    for path in app.api_doc["paths"].values():
        for operation in path.values():
            if not operation.get("parameters"):
                operation["responses"].pop("422", None)


def _unavailable(refusal: Refusal) -> Response:
    """The 503 that says why there is no safe answer."""
    response = _as_problem(503, "No safe answer now", str(refusal), refusal.reason)
    response.headers["Retry-After"] = _RETRY_AFTER
    return response


def _unprocessable(error: ValidationError) -> Response:
    said = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
    return _as_problem(422, "Unprocessable Content", said, "parameters")


def _http_error(error: HTTPException) -> AnyResponse:
    if error.response is not None:
        return cast(AnyResponse, error.response)
    code = error.code or 500
    if code < 400:
        return AnyResponse(status=code, headers=dict(error.get_headers()))
    response = _as_problem(code, error.name, error.description or error.name, "http")
    for name, value in error.get_headers():
        if name.lower() != "content-type":
            response.headers[name] = value
    return response


def _as_problem(status: int, title: str, detail: str, reason: str) -> Response:
    body = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "reason": reason,
    }
    return Response(json.dumps(body), status=status, mimetype=_PROBLEM)
