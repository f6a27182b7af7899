"""Options of `skinclf predict` for age, sex and site, and how the predictor gets them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from skinclf_cli.options import EXISTING_FILE, packed


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataOptions:
    """Options of what is known beside the images."""

    metadata: Path | None
    metadata_terms: Path | None

    def check(self) -> None:
        """Check that terms are not given without a table.

        Raises:
            UsageError: They are.
        """
        if self.metadata is None and self.metadata_terms is not None:
            raise click.UsageError("--metadata-terms needs --metadata TABLE.")


metadata_options = packed(
    "patient",
    MetadataOptions,
    click.option(
        "--metadata",
        type=EXISTING_FILE,
        metavar="TABLE",
        help="Table of age, sex and site by image, which are taken into account; adds p_image_malignant and "
        "metadata_shift, except for a model that takes them itself.",
    ),
    click.option(
        "--metadata-terms",
        type=EXISTING_FILE,
        metavar="FILE",
        help="File of `skinclf metadata fit` with what age, sex and site add. Default: that of the model.",
    ),
    title="Metadata",
)
