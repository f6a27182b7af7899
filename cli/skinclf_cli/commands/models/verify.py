"""`skinclf models verify`: replay the golden samples of a model."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from skinclf_cli import console
from skinclf_cli.errors import DONE, FAILED
from skinclf_cli.options import device_option, hub_options, json_option, runtime_option

if TYPE_CHECKING:
    from skinclf.models.options import HubOptions


@click.command(short_help="Replay the golden samples of a model.")
@click.argument("name", required=False)
@runtime_option("torch")
@device_option("cpu")
@hub_options
@json_option
def verify(*, name: str | None, runtime: str, device: str, hub: HubOptions, as_json: bool) -> int:
    """Replay the golden samples of the model NAME: a name, folder or Hub repository.

    Exits with 1 when a probability differs by more than its tolerance.
    """
    from skinclf.conversion.verify import verify_model

    found = verify_model(name, runtime=runtime, device=device, hub=hub)
    if as_json:
        checks = [asdict(check) | {"ok": check.ok} for check in found.checks]
        console.json_out({"name": found.name, "runtime": found.runtime, "ok": found.ok, "checks": checks})
    else:
        rows = [
            (c.file, c.source, f"{c.difference:.2g}", f"{c.tolerance:g}", "ok" if c.ok else "DIFFERS")
            for c in found.checks
        ]
        console.table(("sample", "recorded by", "difference", "tolerance", "result"), rows)
    return DONE if found.ok else FAILED
