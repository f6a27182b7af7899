"""The application: routes of the API and of the page."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from skinclf._utils.notice import NOTICE
from skinclf.errors import ImageError, InvalidArgumentError, MissingExtraError, SkinclfError
from skinclf.explanation.target import check_target
from skinclf.images.named_bytes import NamedBytes
from skinclf.serve.answers import RequestError, accepted, json_response, predictions_response
from skinclf.serve.batcher import BusyError, Outcome
from skinclf.serve.body import Bodies
from skinclf.serve.evidence import Evidence
from skinclf.serve.guard import Guard
from skinclf.serve.patients import patients_of, without_gate
from skinclf.serve.service import Service

logger = logging.getLogger("skinclf")
T = TypeVar("T")

_HERE = Path(__file__).parent
_TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".txt": "text/plain; charset=utf-8",
}
_WORDS: Mapping[int, tuple[str, str]] = {
    404: ("not_found", "There is nothing at this path."),
    405: ("wrong_method", "This path does not take that method."),
}


def create_app(service: Service) -> ASGIApp:
    """The ASGI application of a service, behind its guard.

    Args:
        service: Loaded model with its batcher.
    """
    api = _Api(service)
    routes = [
        Route("/", api.page),
        Route("/static/{name}", api.static),
        Route("/healthz", api.health),
        Route("/readyz", api.ready),
        Route("/openapi.json", api.openapi),
        Route("/v1/models", api.models),
        Route("/v1/thresholds", api.thresholds),
        Route("/v1/predictions", api.predictions, methods=["POST"]),
        Route("/v1/explanations", api.explanations, methods=["POST"]),
    ]
    if service.settings.metrics:
        routes.append(Route("/metrics", api.metrics))
    app = Starlette(
        routes=routes,
        exception_handlers={
            RequestError: _refused,
            HTTPException: _http_error,
            BusyError: _busy,
            ClientDisconnect: _gone,
            InvalidArgumentError: _invalid,
            Exception: _failed,
        },
    )
    app.router.redirect_slashes = False
    named = frozenset(route.path for route in routes if "{" not in route.path)
    return Guard(_Quiet(app), service.settings, routes=named, count=service.metrics.request)


class _Quiet:
    """Ends an answered failure here; Starlette raises it again, and the server would log its text."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._app(scope, receive, send)
        except ClientDisconnect:
            return
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)[-4:]
            places = ", ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
            # Never the error's own text, which may name a file.
            logger.error("A request has failed: %s (%s)", type(error).__name__, places)  # noqa: TRY400


class _Api:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._bodies = Bodies(service.settings, service.batcher.arriving)
        self._static = {
            path.name: (path.read_bytes(), _TYPES[path.suffix])
            for path in sorted((_HERE / "static").iterdir())
            if path.suffix in _TYPES
        }
        self._openapi = json.loads((_HERE / "openapi.json").read_text(encoding="utf-8"))

    async def page(self, _request: Request) -> Response:
        return self._file("index.html")

    async def static(self, request: Request) -> Response:
        return self._file(request.path_params["name"])

    async def health(self, _request: Request) -> Response:
        return json_response({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        if self._service.ready:
            return json_response({"status": "ready"})
        raise RequestError(503, "not_ready", "The server does not classify images now.", {"Retry-After": "5"})

    async def openapi(self, _request: Request) -> Response:
        return json_response(self._openapi)

    async def models(self, _request: Request) -> Response:
        return json_response(self._service.described)

    async def thresholds(self, _request: Request) -> Response:
        offered = [entry.to_dict() for entry in self._service.thresholds.offered]
        fused = self._service.fused
        beside = None if fused is None else [entry.to_dict() for entry in fused.thresholds.offered]
        return json_response({"thresholds": offered, "with_metadata": beside, "notice": NOTICE})

    async def metrics(self, _request: Request) -> Response:
        text = self._service.metrics.text(in_hand=self._service.batcher.in_hand)
        return Response(text, media_type="text/plain; version=0.0.4")

    async def predictions(self, request: Request) -> Response:
        service, query = self._service, request.query_params
        include, strict = _include(query.get("include")), _flag(query.get("strict"), "strict")
        ungated = self._ungated(query.get("gate"))
        kind = accepted(request.headers.get("accept"), ("json", "csv", "jsonl"))
        most = service.settings.max_files
        texts: dict[str, str] = {}
        async with self._bodies.images(request.scope, request.receive, most=most, texts=texts) as images:
            names = [image.name for image in images]
            patients = patients_of(texts.get("metadata"), query, len(names))
            thresholds = service.offered(with_metadata=patients is not None)
            threshold = thresholds.find(query.get("threshold"))
            outcomes = await self._scored(request, images)
        if ungated:
            outcomes = [without_gate(outcome) for outcome in outcomes]
        predictions = service.predictions(names, outcomes, threshold, patients)
        if strict and not all(prediction.ok for prediction in predictions):
            number, failed = next((i, p) for i, p in enumerate(predictions) if not p.ok)
            raise RequestError(
                422, failed.status, f"Image {number + 1} of {len(predictions)} failed: {failed.error}"
            )
        facts = {"model": service.model, "threshold": threshold.to_dict(), "notice": NOTICE}
        schema, parts = service.schema, None
        if patients is not None and service.fused is not None:
            schema = service.fused.schema
            facts["metadata"] = {"terms": service.fused.terms.fingerprint}
            if "contributions" in include:
                parts = service.fused.contributions(outcomes, patients)
        cells = "cells" in include
        return predictions_response(kind, schema, predictions, facts, cells=cells, contributions=parts)

    async def explanations(self, request: Request) -> Response:
        service, query = self._service, request.query_params
        if service.explanations is None:
            raise RequestError(404, "no_explanations", "This server offers no explanations.")
        kind = accepted(request.headers.get("accept"), ("png", "json"))
        ungated = self._ungated(query.get("gate"))
        target = query.get("target")
        if target is not None:
            check_target(target, service.spec.labels)
        async with self._bodies.images(request.scope, request.receive, most=1) as images:
            outcomes = await self._scored(request, images)
            if ungated:
                outcomes = [without_gate(outcome) for outcome in outcomes]
            (prediction,) = service.predictions([images[0].name], outcomes, service.thresholds.default)
            if not prediction.ok:
                raise RequestError(422, prediction.status, prediction.error)
            made = service.explanations.submit(images[0], prediction, target)
            try:
                overlay = await self._finished(request, made)
            except ImageError as error:
                raise RequestError(422, error.code, str(error)) from None
        if kind == "json":
            # Checks are of one model; an ensemble's maps are none of its members'.
            known = service.evidence[0] if len(service.evidence) == 1 else Evidence()
            return json_response(
                overlay.to_dict() | {"checks": known.checks_of(overlay.method, overlay.target)}
            )
        return Response(overlay.png, media_type="image/png")

    def _ungated(self, text: str | None) -> bool:
        """Whether a request asks for images that the gate refuses, and may."""
        if text in {None, "refuse"}:
            return False
        if text != "mark":
            raise InvalidArgumentError("`gate` is mark or refuse.", parameter="gate")
        if self._service.gate != "refuse":
            return False
        if not self._service.settings.allow_ungated:
            raise RequestError(
                403, "gate_refuses", "This server gives no probability of images that its gate refuses."
            )
        return True

    async def _scored(self, request: Request, images: list[NamedBytes]) -> list[Outcome]:
        ticket = self._service.batcher.submit(images, seconds=self._service.settings.timeout)
        try:
            return await self._finished(request, ticket.done)
        finally:
            ticket.cancel()

    async def _finished(self, request: Request, work: Future[T]) -> T:
        """Wait for a result; not longer than the deadline, and not when the client goes away."""
        result = asyncio.wrap_future(work)
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            waited: set[asyncio.Future[Any]] = {result, gone}
            await asyncio.wait(
                waited, timeout=self._service.settings.timeout, return_when=asyncio.FIRST_COMPLETED
            )
            if result.done():
                return result.result()
            if gone.done():
                raise ClientDisconnect
            raise RequestError(
                504,
                "timeout",
                f"No answer within {self._service.settings.timeout:g} seconds; try again later.",
            )
        finally:
            result.cancel()
            gone.cancel()

    def _file(self, name: str) -> Response:
        if name not in self._static:
            raise HTTPException(404)
        content, kind = self._static[name]
        return Response(content, media_type=kind)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _flag(text: str | None, name: str) -> bool:
    if text in {None, "0"}:
        return False
    if text == "1":
        return True
    raise InvalidArgumentError(f"`{name}` is 0 or 1.", parameter=name)


def _include(text: str | None) -> frozenset[str]:
    found = frozenset(filter(None, (text or "").split(",")))
    if found <= {"cells", "contributions"}:
        return found
    raise InvalidArgumentError(
        "`include` is cells, contributions, or both with a comma.", parameter="include"
    )


Handler = Callable[[Request, Exception], Awaitable[Response]]


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return error.response


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, message = _WORDS.get(error.status_code, ("bad_request", "The request cannot be read."))
    return RequestError(error.status_code, code, message, error.headers).response


async def _busy(_request: Request, error: Exception) -> Response:
    assert isinstance(error, BusyError)
    return RequestError(503, "busy", str(error), {"Retry-After": str(error.seconds)}).response


async def _invalid(_request: Request, error: Exception) -> Response:
    return RequestError(422, "invalid_parameter", str(error)).response


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)


async def _failed(_request: Request, error: Exception) -> Response:
    if isinstance(error, MissingExtraError):
        return RequestError(501, "missing_extra", str(error)).response
    known = isinstance(error, SkinclfError)
    text = "The model has failed." if known else "The server has failed."
    return RequestError(500, "failed", text).response
