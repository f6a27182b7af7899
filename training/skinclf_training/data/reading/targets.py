"""Labels of a source translated to the classes that are trained, by declared crosswalks only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from skinclf.errors import InvalidArgumentError
from skinclf.labels import TAXONOMIES, Crosswalk, LabelSet, crosswalk
from skinclf_training.data.reading.metadata import Record

# Full names that archives and older projects use.
_ALIASES: Mapping[str, tuple[str, ...]] = {
    "nevus": ("nv",),
    "naevus": ("nv",),
    "melanocytic_nevi": ("nv",),
    "melanoma": ("mel",),
    "actinic_keratosis": ("ak", "akiec"),
    "bowen's_disease": ("akiec", "scc"),
    "benign_keratosis_like_lesions": ("bkl",),
    "seborrheic_keratosis": ("bkl",),
    "solar_lentigo": ("bkl",),
    "vascular_lesions": ("vasc",),
    "non_melanoma": ("non_melanoma",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Records whose labels are codes of one taxonomy.

    Attributes:
        records: Records with `label` in `labels` and `origin` in the taxonomy of the source.
        labels: Classes that are trained, in output order.
        crosswalk: Crosswalk from the codes of the source.
        dropped: Number of images left out, by class.
    """

    records: tuple[Record, ...]
    labels: LabelSet
    crosswalk: Crosswalk
    dropped: Mapping[str, int]


def to_taxonomy(
    records: Sequence[Record], target: LabelSet, *, source: LabelSet | None = None, drop: Sequence[str] = ()
) -> Targets:
    """Translate the labels of records to a taxonomy.

    Two-class targets take any taxonomy with a declared crosswalk. Between multi-class ones a crosswalk that
    loses something is used only when `source` asks for it by name.

    Args:
        records: Records as read.
        target: Taxonomy to train.
        source: Taxonomy of the labels; None finds the one that has them all.
        drop: Classes whose images are left out.

    Raises:
        InvalidArgumentError: A label has no class in the target, or a class to leave out does not occur.
    """
    wanted = {_fold(code) for code in drop}
    dropped: Counter[str] = Counter()
    kept: list[Record] = []
    for record in records:
        hit = _names(record.label) & wanted
        if hit:
            dropped[min(hit)] += 1
        else:
            kept.append(record)
    absent = sorted(wanted - dropped.keys())
    if absent:
        found = ", ".join(sorted({record.label for record in records}))
        raise InvalidArgumentError(
            f"`drop_classes` names {', '.join(absent)}, which no image has; found {found}.",
            parameter="drop_classes",
        )
    counts = Counter(record.label for record in kept)
    walk, codes = _interpret(counts, target, source)
    translated = tuple(replace(r, origin=codes[r.label], label=walk.mapping[codes[r.label]]) for r in kept)
    return Targets(
        records=translated,
        labels=_without(target, wanted, {r.label for r in translated}),
        crosswalk=walk,
        dropped=dict(dropped),
    )


def _interpret(
    counts: Mapping[str, int], target: LabelSet, source: LabelSet | None
) -> tuple[Crosswalk, dict[str, str]]:
    """The first taxonomy that knows all labels and has a way to the target; raw label to its code."""
    candidates = [source] if source is not None else [target, *TAXONOMIES.values()]
    for taxonomy in candidates:
        try:
            walk = crosswalk(taxonomy, target)
        except InvalidArgumentError:
            if source is not None:
                raise
            continue
        if walk.lossy and len(target) > 2 and source is None:
            continue
        codes = {text: _resolve(text, taxonomy, numbers=taxonomy.codes == target.codes) for text in counts}
        if all(code in walk.mapping for code in codes.values()):
            return walk, {text: code for text, code in codes.items() if code is not None}
    named = source or target
    unknown = {text: n for text, n in counts.items() if _resolve(text, named, numbers=True) is None}
    raise InvalidArgumentError(_unknown(unknown or counts, counts, named, target))


def _unknown(unknown: Mapping[str, int], counts: Mapping[str, int], named: LabelSet, target: LabelSet) -> str:
    found = ", ".join(f"{text.lower()!r} ({n} rows)" for text, n in sorted(unknown.items()))
    hint = ""
    for taxonomy in TAXONOMIES.values():
        knows = all(_resolve(text, taxonomy, numbers=False) for text in counts)
        try:
            walk = crosswalk(taxonomy, target) if knows else None
        except InvalidArgumentError:
            walk = None
        if walk is not None:
            hint = f", translate them with `from_labels={taxonomy.name}` ({walk.lossy})"
            break
    return (
        f"Labels outside {named.name}: {found}. Expected {', '.join(named.codes)}; "
        f"leave them out with `drop_classes`{hint}, or choose another taxonomy with `labels`."
    )


def _without(target: LabelSet, dropped: set[str], present: set[str]) -> LabelSet:
    """The target without the classes that were dropped and that nothing else maps to."""
    rest = tuple(x for x in target if not (_fold(x.code) in dropped and x.code not in present))
    if len(rest) == len(target):
        return target
    if len(rest) < 2:
        raise InvalidArgumentError(
            f"{target.name} without {', '.join(sorted(dropped))} has fewer than two classes."
        )
    return next((t for t in TAXONOMIES.values() if t.labels == rest), LabelSet("custom", rest))


def _resolve(text: str, taxonomy: LabelSet, *, numbers: bool) -> str | None:
    """Code of a label by code, by display name or by another name in use; 0 and 1 for two classes."""
    folded = _fold(text)
    for label in taxonomy:
        if folded in {_fold(label.code), _fold(label.name)}:
            return label.code
    for code in _ALIASES.get(folded, ()):
        if code in taxonomy.codes:
            return code
    if numbers and len(taxonomy) == 2 and folded in {"0", "1", "0.0", "1.0"}:
        return taxonomy.codes[int(float(folded))]
    return None


def _names(text: str) -> set[str]:
    """Names by which `drop_classes` may refer to a label."""
    codes = (_resolve(text, taxonomy, numbers=False) for taxonomy in TAXONOMIES.values())
    return {_fold(text), *(code for code in codes if code is not None)}


def _fold(text: str) -> str:
    return text.strip().lower().replace(" ", "_").replace("-", "_")
