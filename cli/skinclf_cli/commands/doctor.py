"""`skinclf doctor`: check this installation."""

from __future__ import annotations

import click

from skinclf_cli import console
from skinclf_cli.errors import DONE, FAILED
from skinclf_cli.options import json_option


@click.command()
@click.option("--offline", is_flag=True, help="Skip the check of the Hub, which needs the network.")
@json_option
def doctor(*, offline: bool, as_json: bool) -> int:
    """Check versions, devices, runtimes, the built-in model, the caches and the Hub.

    Exits with 1 when something does not work (FAIL); WARN is worth a look.
    """
    from skinclf_cli.doctor import examine, failed

    findings = examine(offline=offline)
    if as_json:
        console.json_out(
            {"ok": not failed(findings), "findings": [finding.to_dict() for finding in findings]}
        )
    else:
        console.table(("", "check", "found"), [(f.status, f.name, f.found) for f in findings])
        for finding in findings:
            if finding.advice:
                console.message(f"{finding.status} {finding.name}: {finding.advice}")
    return FAILED if failed(findings) else DONE
