"""Terms for metadata that are easy to predict: age from 50 and being male speak for malignancy, the torso against."""

from __future__ import annotations

from dataclasses import replace

from skinclf.labels import HAM10000
from skinclf.models.metadata_terms import MetadataTerms
from skinclf.models.spec import ModelSpec

_FOR = tuple(1.0 if label.malignant else -0.2 for label in HAM10000)
_AGAINST = tuple(-1.0 if label.malignant else 0.3 for label in HAM10000)

TERMS = MetadataTerms(
    codes=HAM10000.codes,
    exponent=0.5,
    age_from=(0.0, 50.0),
    age=(_AGAINST, _FOR),
    sex={"female": (0.0,) * 7, "male": _FOR},
    site={"head/neck": _FOR, "torso": _AGAINST},
)


def fake_terms(spec: ModelSpec) -> MetadataTerms:
    """The same terms, bound to a model."""
    return replace(TERMS, model=spec.identity.to_dict())
