"""`skinclf serve`: serve a model, with an HTTP API and a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skinclf.errors import MissingExtraError
from skinclf_cli import console
from skinclf_cli.commands.predict.options import (
    DecisionOptions,
    ExecutionOptions,
    ModelChoice,
    decision_options,
    execution_options,
    model_choice_options,
)
from skinclf_cli.errors import DONE
from skinclf_cli.options import EXISTING_FILE, hub_options, model_options, packed
from skinclf_cli.types import ByteSize

if TYPE_CHECKING:
    from skinclf.models.options import HubOptions, ModelOptions
    from skinclf.serve.service import Service
    from skinclf.serve.settings import ServeSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Options of the server itself."""

    host: str
    port: int
    token_file: Path | None
    no_token: bool
    allow_host: tuple[str, ...]
    allow_frame: tuple[str, ...]
    max_upload: int
    max_queue: int
    max_wait: float
    timeout: float
    grace: float
    explanations: bool
    metadata_terms: Path | None
    allow_ungated: bool
    metrics: bool
    show: bool

    def settings(self) -> ServeSettings:
        """The same for the library."""
        from skinclf.serve.settings import ServeSettings, read_token

        names = (
            "host",
            "port",
            "no_token",
            "allow_host",
            "allow_frame",
            "max_upload",
            "max_queue",
            "max_wait",
        )
        values: dict[str, Any] = {
            name: getattr(self, name) for name in (*names, "timeout", "grace", "metrics", "allow_ungated")
        }
        token = None if self.token_file is None else read_token(self.token_file)
        return ServeSettings(token=token, explanations=self.explanations, **values)


server_options = packed(
    "server",
    ServerOptions,
    click.option(
        "--host",
        default="127.0.0.1",
        show_default=True,
        help="Address to listen on. Any that other machines reach needs --token-file.",
    ),
    click.option(
        "--port",
        type=click.IntRange(0, 65535),
        default=8000,
        show_default=True,
        help="Port to listen on; 0 takes a free one.",
    ),
    click.option(
        "--token-file",
        type=EXISTING_FILE,
        help="File with a token of 16 or more characters that requests must carry.",
    ),
    click.option(
        "--no-token", is_flag=True, help="Serve without a token on an address that other machines reach."
    ),
    click.option(
        "--allow-host",
        multiple=True,
        metavar="NAME",
        help="Further host name that browsers may use for this server; may be given several times.",
    ),
    click.option(
        "--allow-frame",
        multiple=True,
        metavar="ORIGIN",
        help="Site, such as https://example.org, whose pages may show this one in a frame; may be given several times. "
        "Default: none.",
    ),
    click.option(
        "--max-upload",
        type=ByteSize(),
        default="50M",
        show_default=True,
        metavar="BYTES",
        help="Size of all images of one request.",
    ),
    click.option(
        "--max-queue",
        type=click.IntRange(min=1),
        default=256,
        show_default=True,
        help="Number of images that may wait; further requests are answered 503.",
    ),
    click.option(
        "--max-wait",
        type=click.FloatRange(min=0),
        default=5.0,
        show_default=True,
        metavar="MS",
        help="Milliseconds that an image waits for uploads under way, to share a run of the network.",
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=60.0,
        show_default=True,
        metavar="SECONDS",
        help="Time for the upload of a request, and again for its answer.",
    ),
    click.option(
        "--grace",
        type=click.FloatRange(min=0, min_open=True),
        default=30.0,
        show_default=True,
        metavar="SECONDS",
        help="Time for requests in hand when the server is stopped.",
    ),
    click.option("--explanations/--no-explanations", default=True, help="Offer overlays. Default: yes."),
    click.option(
        "--metadata-terms",
        type=EXISTING_FILE,
        metavar="FILE",
        help="File of `skinclf metadata fit` with what age, sex and site of a request add. Default: that of the "
        "model.",
    ),
    click.option(
        "--allow-ungated",
        is_flag=True,
        help="Let requests ask for the probability of an image that the gate refuses; the page then offers to show it.",
    ),
    click.option("--metrics", is_flag=True, help="Serve counters at /metrics, in the Prometheus format."),
    click.option("--open", "show", is_flag=True, help="Open the page in a browser."),
    title="Server",
)


@click.command()
@server_options
@model_choice_options
@decision_options
@model_options
@hub_options
@execution_options
def serve(
    *,
    server: ServerOptions,
    choice: ModelChoice,
    decision: DecisionOptions,
    options: ModelOptions,
    hub: HubOptions,
    execution: ExecutionOptions,
) -> int:
    """Serve a model: an HTTP API, and a page on which images are dropped.

    Images stay in memory, and nothing about them is logged.

    \b
    skinclf serve
    skinclf serve --model bundle/ --threshold threshold.json --open
    skinclf serve --host 0.0.0.0 --token-file token.txt
    """  # noqa: D301 - click's paragraph mark
    try:
        from skinclf.serve.server import serve as run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"starlette", "uvicorn", "anyio", "h11"}:
            raise
        raise MissingExtraError("serve", "This command") from None
    settings = server.settings()
    if settings.token is None and not settings.loopback:
        console.message(f"No token: everyone who reaches {settings.host} can use this server.")
    sets = None
    if decision.conformal is not None:
        from skinclf.decisions.held_out import label_sets

        sets = label_sets(decision.conformal, choice.model)

    terms = None
    if server.metadata_terms is not None:
        from skinclf.inference.metadata.fused import read_terms

        terms = read_terms(server.metadata_terms)

    def ready(service: Service, url: str) -> None:
        for line in (*service.checks, *service.notices):
            console.message(line.replace("`threshold`", "--threshold"))
        info = service.model
        console.message(f"{info['name']}: {info['runtime']}, {info['precision']}. Stop with Ctrl-C.")
        click.echo(url)
        if server.show:
            click.launch(url)

    run(
        *choice.model,
        settings=settings,
        ready=ready,
        threshold=decision.threshold,
        force=decision.force,
        options=options,
        hub=hub,
        batch_size=execution.batch_size,
        workers=execution.workers,
        processes=execution.processes is not False,
        device=execution.device,
        runtime=execution.runtime,
        precision=execution.precision,
        tta=choice.tta,
        average=choice.average,
        weights=choice.weights,
        conformal=sets,
        metadata_terms=terms,
        refer_below=decision.refer_below,
        gate=decision.gate,
        gate_marks=decision.gate_marks,
    )
    return DONE
