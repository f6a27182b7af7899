"""How likely each age, sex and site is in each class, from labelled lesions, one vote each.

The terms are log-likelihood ratios, log p(entry | class) / p(entry). Observed and expected numbers of lesions are both
raised by `smoothing`, which draws what is rarely seen towards no effect; a site is drawn towards the wider site that it
is part of. That is a naive Bayes model in closed form, and the reason why an absent entry adds exactly 0: it is left
out of the product.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from skinclf._utils.arrays import Floats
from skinclf.labels import LabelSet
from skinclf.metrics.clusters import cluster_index
from skinclf.tables.patient_metadata import SITES, Patient, wider_sites

#: First year of each age band.
AGE_FROM = (0.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0)
#: Wider sites first, so that a narrower one can be drawn towards them.
_WIDEST_FIRST = sorted(SITES, key=lambda word: len(wider_sites(word)))


def fit_terms(
    classes: Sequence[str],
    patients: Sequence[Patient | None],
    lesions: Sequence[str],
    labels: LabelSet,
    *,
    smoothing: float = 3.0,
) -> dict[str, Any]:
    """Tables of terms, as the fields `age_from`, `age`, `sex` and `site` of `MetadataTerms`.

    Args:
        classes: Class code of each image, N of them.
        patients: Entries of each image; None where nothing is known.
        lesions: Lesion of each image; each has one vote, shared among its images.
        labels: Label set of K codes.
        smoothing: Number of lesions, above 0, that is added to the observed and to the expected number of each class.
    """
    index = cluster_index(np.asarray(lesions, dtype=object).astype(str))
    votes = (1 / np.bincount(index))[index]
    truth = [labels.position(code) for code in classes]
    rows = [(k, p or Patient(), w) for k, p, w in zip(truth, patients, votes.tolist(), strict=True)]

    def counts(words: Iterable[tuple[int, Sequence[Any], float]]) -> dict[Any, Floats]:
        found: dict[Any, Floats] = {}
        for k, several, vote in words:
            for word in several:
                found.setdefault(word, np.zeros(len(labels)))[k] += vote
        return found

    def band(age: float) -> int:
        return int(np.searchsorted(AGE_FROM, age, side="right")) - 1

    ages = counts((k, [band(p.age)], w) for k, p, w in rows if p.age is not None)
    sexes = counts((k, [p.sex], w) for k, p, w in rows if p.sex is not None)
    sites = counts((k, wider_sites(p.site), w) for k, p, w in rows if p.site is not None)
    known = sum((sites[word] for word in sites if SITES[word] is None), np.zeros(len(labels)))
    site_terms: dict[str, tuple[float, ...]] = {}
    share: dict[str | None, Floats] = {None: np.ones(len(labels))}
    for word in (word for word in _WIDEST_FIRST if word in sites):
        wider = SITES[word]
        whole = known if wider is None else sites[wider]
        # The part of the wider site that this one is, by class, drawn towards that of all classes.
        share[word] = share[wider] * _shares(sites[word], whole, smoothing)
        site_terms[word] = _row(np.log(share[word]))
    return {
        "age_from": AGE_FROM if ages else (),
        "age": tuple(_terms(ages.get(i), ages, smoothing) for i in range(len(AGE_FROM))) if ages else (),
        "sex": {word: _terms(sexes[word], sexes, smoothing) for word in sorted(sexes)},
        "site": dict(sorted(site_terms.items())),
    }


def _terms(count: Floats | None, table: Mapping[Any, Floats], smoothing: float) -> tuple[float, ...]:
    """Terms of one word of an entry; 0 for a band that no lesion has."""
    whole = sum(table.values(), np.zeros(len(next(iter(table.values())))))
    if count is None:
        return (0.0,) * whole.size
    return _row(np.log(_shares(count, whole, smoothing)))


def _shares(count: Floats, whole: Floats, smoothing: float) -> Floats:
    """How much more often than overall a word occurs in each class, shape (K,), drawn towards 1.

    The mean of a relative rate under a Gamma prior of mean 1 and shape `smoothing` (DuMouchel, Am. Stat. 1999): a word
    that a class should have once and never has says little, whatever the size of the class.
    """
    expected = whole * (count.sum() / whole.sum())
    return np.asarray((count + smoothing) / (expected + smoothing))


def _row(values: Floats) -> tuple[float, ...]:
    return tuple(round(float(x), 4) for x in values)
