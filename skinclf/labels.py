"""Taxonomies as ordered labels, and declared crosswalks between them.

The order of labels is the order of a network's outputs; it travels inside every bundle and is
never inferred from folder names. Sources: HAM10000 (Tschandl et al. 2018), ISIC 2019.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, overload

from skinclf.errors import InvalidArgumentError, ModelError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Label:
    """One class.

    Attributes:
        code: Short lower-case code, unique in its set; names the column `p_<code>`.
        name: What people read.
        malignant: Whether the class counts as malignant; None when it is not declared.
    """

    code: str
    name: str
    malignant: bool | None = None


@dataclass(frozen=True, slots=True)
class LabelSet(Sequence[Label]):
    """Labels in the order of a network's outputs.

    Attributes:
        name: Name of the taxonomy.
        labels: The labels.
        exclusive: Whether exactly one label applies, so that probabilities sum to 1. Outputs of several sigmoids are
            independent instead, see `malignant`.
    """

    name: str
    labels: tuple[Label, ...]
    exclusive: bool = True
    # Asked for several times for every image.
    _malignant: tuple[int, ...] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        codes = [label.code for label in self.labels]
        if len(codes) < 2:
            raise ModelError(f"A label set needs at least two labels; {self.name!r} has {codes}.")
        if len({code.lower() for code in codes}) != len(codes):
            raise ModelError(f"Label codes must be unique; {self.name!r} has {codes}.")
        bad = [c for c in codes if not c or not all(ch.isalnum() or ch in "_-." for ch in c)]
        if bad:
            raise ModelError(
                f"Label codes hold letters, digits, '_', '-' and '.' only; {self.name!r} has {bad}."
            )
        declared = all(label.malignant is not None for label in self.labels)
        malignant = tuple(i for i, label in enumerate(self.labels) if label.malignant)
        object.__setattr__(self, "_malignant", malignant if declared else None)

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, index: int) -> Label: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Label]: ...
    def __getitem__(self, index: int | slice) -> Label | Sequence[Label]:
        return self.labels[index]

    def __iter__(self) -> Iterator[Label]:
        return iter(self.labels)

    @property
    def codes(self) -> tuple[str, ...]:
        """Codes in output order."""
        return tuple(label.code for label in self.labels)

    @property
    def malignant_indices(self) -> tuple[int, ...] | None:
        """Output indices of the malignant labels; None when malignancy is not declared."""
        return self._malignant

    def malignant(self, probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float32] | None:
        """Probability of malignancy, shape (...), float32; None when malignancy is not declared.

        The sum over the malignant labels when labels exclude each other; when they are independent, the probability
        that at least one malignant label applies, 1 - prod(1 - p).

        Args:
            probabilities: Shape (..., K), in label order.
        """
        indices = self.malignant_indices
        if indices is None:
            return None
        import numpy as np  # here: listing models needs labels, and starts without numpy

        inside = np.asarray(probabilities, np.float32)[..., list(indices)]
        if self.exclusive:
            return np.asarray(inside.sum(axis=-1, dtype=np.float32))
        return np.asarray(1 - np.prod(1 - inside.astype(np.float64), axis=-1), np.float32)

    def position(self, code: str) -> int:
        """Output index of a code (case-insensitive).

        Raises:
            InvalidArgumentError: The code is not in this set.
        """
        wanted = code.strip().lower()
        for i, label in enumerate(self.labels):
            if label.code.lower() == wanted:
                return i
        raise InvalidArgumentError(f"Unknown label {code!r}; {self.name} has {', '.join(self.codes)}.")

    def with_malignant(self, codes: Iterable[str]) -> LabelSet:
        """The same labels with exactly these codes malignant.

        Raises:
            InvalidArgumentError: A code is not in this set.
        """
        indices = {self.position(code) for code in codes}
        changed = tuple(replace(x, malignant=i in indices) for i, x in enumerate(self.labels))
        return replace(self, labels=changed)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "taxonomy": self.name,
            "labels": [{"code": x.code, "name": x.name, "malignant": x.malignant} for x in self.labels],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LabelSet:
        """Read the JSON form.

        Raises:
            ModelError: A field is missing or of the wrong type.
        """
        try:
            labels = tuple(Label(str(x["code"]), str(x["name"]), x.get("malignant")) for x in data["labels"])
            name = str(data["taxonomy"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                f"A label set needs 'taxonomy' and 'labels' with 'code' and 'name': {error!r}."
            ) from None
        if any(x.malignant is not None and type(x.malignant) is not bool for x in labels):
            raise ModelError("The 'malignant' flag of a label is true, false or null.")
        return cls(name, labels)

    @property
    def fingerprint(self) -> str:
        """Short hash of codes, order and malignant flags (display names do not count)."""
        text = json.dumps(
            [[x.code, x.malignant] for x in self.labels] + ([] if self.exclusive else ["independent"])
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _make(name: str, *rows: tuple[str, str, bool]) -> LabelSet:
    return LabelSet(name, tuple(Label(*row) for row in rows))


HAM10000 = _make(
    "ham10000",
    ("akiec", "Actinic keratosis / Bowen's disease", True),
    ("bcc", "Basal cell carcinoma", True),
    ("bkl", "Benign keratosis", False),
    ("df", "Dermatofibroma", False),
    ("mel", "Melanoma", True),
    ("nv", "Melanocytic nevus", False),
    ("vasc", "Vascular lesion", False),
)
# Column order of the ISIC 2019 ground truth, not alphabetical.
ISIC2019 = _make(
    "isic2019",
    ("mel", "Melanoma", True),
    ("nv", "Melanocytic nevus", False),
    ("bcc", "Basal cell carcinoma", True),
    ("ak", "Actinic keratosis", True),
    ("bkl", "Benign keratosis", False),
    ("df", "Dermatofibroma", False),
    ("vasc", "Vascular lesion", False),
    ("scc", "Squamous cell carcinoma", True),
)
ISIC2019_7 = LabelSet("isic2019-7", ISIC2019.labels[:7])
MALIGNANT = _make("malignant", ("benign", "Benign", False), ("malignant", "Malignant", True))
MELANOMA = _make("melanoma", ("non_melanoma", "Non-Melanoma", False), ("melanoma", "Melanoma", True))

TAXONOMIES: Mapping[str, LabelSet] = {
    x.name: x for x in (HAM10000, ISIC2019, ISIC2019_7, MALIGNANT, MELANOMA)
}


def parse_labels(text: str, *, malignant: Sequence[str] | None = None) -> LabelSet:
    """Labels as a user states them: a taxonomy's name, or codes in output order.

    Args:
        text: `ham10000`, `isic2019`, `malignant`, ... or `code1,code2,...`.
        malignant: Codes that count as malignant. For a custom list without it, the flags stay
            unknown, except that two labels mean negative, positive.

    Raises:
        InvalidArgumentError: Fewer than two codes, a repeated code, or an unknown malignant code.
    """
    base = TAXONOMIES.get(text.strip().lower())
    if base is None:
        codes = [part.strip().lower() for part in text.split(",") if part.strip()]
        if len(codes) < 2:
            known = ", ".join(TAXONOMIES)
            raise InvalidArgumentError(
                f"Labels {text!r}: expected one of {known}, or codes such as 'mel,nv,bkl'."
            )
        flags: list[bool | None] = [False, True] if len(codes) == 2 else [None] * len(codes)
        try:
            base = LabelSet("custom", tuple(Label(c, c, f) for c, f in zip(codes, flags, strict=True)))
        except ModelError as error:
            raise InvalidArgumentError(str(error)) from None
    return base if malignant is None else base.with_malignant(malignant)


@dataclass(frozen=True, slots=True)
class Crosswalk:
    """A declared mapping from one taxonomy's codes to another's.

    Attributes:
        source: Taxonomy the codes come from.
        target: Taxonomy they become.
        mapping: Source code to target code; a code that has no counterpart is absent.
        lossy: What is lost, in words; empty when nothing is.
    """

    source: str
    target: str
    mapping: Mapping[str, str]
    lossy: str = ""


def _to_malignant(labels: LabelSet) -> Crosswalk:
    mapping = {x.code: "malignant" if x.malignant else "benign" for x in labels}
    return Crosswalk(labels.name, "malignant", mapping, "keeps only whether the class is malignant")


def _to_melanoma(labels: LabelSet) -> Crosswalk:
    mapping = {x.code: "melanoma" if x.code == "mel" else "non_melanoma" for x in labels}
    return Crosswalk(
        labels.name, "melanoma", mapping, "carcinomas count as non-melanoma, which does not mean benign"
    )


_SHARED = {c: c for c in ("mel", "nv", "bcc", "bkl", "df", "vasc")}
CROSSWALKS: Mapping[tuple[str, str], Crosswalk] = {
    (x.source, x.target): x
    for x in (
        Crosswalk(
            "ham10000",
            "isic2019",
            {**_SHARED, "akiec": "ak"},
            "akiec holds Bowen's disease, which ISIC files under scc",
        ),
        Crosswalk(
            "ham10000",
            "isic2019-7",
            {**_SHARED, "akiec": "ak"},
            "akiec holds Bowen's disease, which ISIC files under scc",
        ),
        Crosswalk(
            "isic2019",
            "ham10000",
            {**_SHARED, "ak": "akiec", "scc": "akiec"},
            "scc and ak fall together in akiec",
        ),
        Crosswalk("isic2019-7", "ham10000", {**_SHARED, "ak": "akiec"}, "akiec also holds Bowen's disease"),
        Crosswalk("isic2019-7", "isic2019", {**_SHARED, "ak": "ak"}, "a model without scc never answers scc"),
        *(_to_malignant(x) for x in (HAM10000, ISIC2019, ISIC2019_7)),
        *(_to_melanoma(x) for x in (HAM10000, ISIC2019, ISIC2019_7)),
    )
}


def crosswalk(source: LabelSet, target: LabelSet) -> Crosswalk:
    """The declared crosswalk between two taxonomies.

    Raises:
        InvalidArgumentError: No crosswalk is declared.
    """
    if source.codes == target.codes:
        return Crosswalk(source.name, target.name, {c: c for c in source.codes})
    try:
        return CROSSWALKS[source.name, target.name]
    except KeyError:
        raise InvalidArgumentError(
            f"No crosswalk from {source.name} ({', '.join(source.codes)}) to {target.name} "
            f"({', '.join(target.codes)}) is declared."
        ) from None
