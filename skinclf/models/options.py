"""Options of loading a model: facts that its file lacks, and access to the Hub.

Nothing heavy is imported, so that command-line help stays fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skinclf.images.preprocess import Preprocess
    from skinclf.labels import LabelSet
    from skinclf.models.metadata_encoding import MetadataEncoding


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Facts about a model that its file may not record. A bundle records all of them; options may only agree with it.

    Attributes:
        labels: Labels in output order, as a `LabelSet`, a taxonomy's name (`ham10000`) or codes (`benign,malignant`).
        preprocess: A `Preprocess`; the name of a scaling, alone (`caffe`, `tf`, `torch`, `unit`, `raw`) or with its
            resize (`caffe-opencv`, see `skinclf.images.preprocess.RESIZES`), whose size then follows the file's
            input; a preprocessing variant of a registered model; or JSON with the fields of `Preprocess`, as text
            or as the path of a file.
        input_size: Height and width of the input in pixels, or one number for both, where `preprocess` is the name
            of a scaling and the file does not state its size.
        malignant: Codes of the labels that count as malignant.
        architecture: Name of the network for bare weights, such as a timm name.
        state_key: Key of the state dict in a PyTorch checkpoint that holds several, such as `ema` or, for one inside
            another mapping, `models.student`.
        metadata_encoding: What the second input of a Keras or ONNX file means, for a network that takes age, sex and
            site beside the image: a `MetadataEncoding`, or the path of a JSON file that declares it (see
            `skinclf.models.metadata_encoding`).
    """

    labels: LabelSet | str | None = None
    preprocess: Preprocess | str | Path | None = None
    input_size: int | tuple[int, int] | None = None
    malignant: Sequence[str] | None = None
    architecture: str | None = None
    state_key: str | None = None
    metadata_encoding: MetadataEncoding | str | Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HubOptions:
    """Access to the Hugging Face Hub.

    Attributes:
        revision: Branch, tag or commit sha of the repository; None takes the model's own, else the branch `main`.
        offline: Whether only the cache is used, never the network.
        cache_dir: Folder that downloads are kept in; None takes the Hub client's own cache.
        token: Access token; None follows the Hub client's rules (HF_TOKEN, `hf auth login`).
    """

    revision: str | None = None
    offline: bool = False
    cache_dir: Path | None = None
    token: str | None = field(default=None, repr=False)
