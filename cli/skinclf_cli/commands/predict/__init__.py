"""`skinclf predict`: classify images and write one row for each."""

from __future__ import annotations

from skinclf_cli.commands.predict.command import predict

__all__ = ["predict"]
