"""The contract of a model whose predictions take age, sex and site into account."""

from __future__ import annotations

from pathlib import Path

from skinclf._utils.json import read_json
from skinclf.errors import MismatchError, ModelError
from skinclf.models.metadata_encoding import need_picture_alone
from skinclf.models.metadata_terms import MetadataTerms
from skinclf.models.spec import ModelSpec

_OF_MEMBERS = " (those of a single model or view do not apply to averaged ones)"


def fused_spec(spec: ModelSpec, terms: MetadataTerms | None = None) -> ModelSpec:
    """The contract of predictions with metadata, whose operating points are those measured with it.

    Args:
        spec: Contract of the image model.
        terms: Terms to use; None takes the model's own.

    Raises:
        ModelError: The model has no terms, or its classes do not exclude one another.
        MismatchError: The terms were fitted for another model.
    """
    need_picture_alone(spec.encoding, spec.name, "a fusion with metadata terms")
    found = terms or spec.metadata
    if found is None:
        of_members = _OF_MEMBERS if spec.recipe else ""
        raise ModelError(
            f"{spec.name} has no terms for metadata{of_members}; fit them on labelled predictions "
            "(`skinclf.decisions.metadata.fit.fit_metadata`) and give them as `metadata_terms`.",
            parameter="metadata_terms",
        )
    if spec.activation == "independent":
        raise ModelError(
            f"{spec.name}: metadata is for classes that exclude one another; its outputs are independent.",
            parameter="metadata",
        )
    found.check(spec.replace(fused=False).identity, spec.labels.codes)
    return spec.replace(
        metadata=found,
        fused=True,
        operating_points=found.operating_points,
        default_operating_point=found.default_operating_point,
        decision=None,
    )


def read_terms(path: Path | str) -> MetadataTerms:
    """Read terms that `skinclf.decisions.metadata.fit.fit_metadata` found, from their JSON file.

    Raises:
        InvalidArgumentError: The file cannot be read as a JSON object.
        MismatchError: The file holds something else.
    """
    try:
        return MetadataTerms.from_dict(read_json(Path(path)))
    except ModelError as error:
        raise MismatchError(
            f"{path}: no file of metadata terms: {error}", parameter="metadata_terms"
        ) from None
