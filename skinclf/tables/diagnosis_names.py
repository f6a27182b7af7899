"""Names of diagnoses as published data sets write them, and the classes that they stand for.

Sources: HAM10000 (Tschandl et al. 2018), ISIC 2017 to 2020 and the ISIC archive (`diagnosis_1` to `diagnosis_5`),
BCN20000 (Hernández-Pérez et al. 2024), PAD-UFES-20 (Pacheco et al. 2020), Derm7pt (Kawahara et al. 2019), DDI
(Daneshjou et al. 2022), Fitzpatrick17k (Groh et al. 2021), MILK10k (2025). A name that no class of a taxonomy covers
(lentigo simplex, scar, miscellaneous) is not here: it has to be mapped or left out by the user.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from skinclf.errors import InvalidArgumentError
from skinclf.labels import CROSSWALKS, TAXONOMIES, Crosswalk, LabelSet

# Names by class, folded. A name in several lists is that class which the taxonomy at hand has: Bowen's disease is
# `akiec` in HAM10000 and `scc` in ISIC 2019.
_NAMES: Mapping[str, str] = {
    "mel": """
        melanoma, malignant_melanoma, melanoma_nos, melanoma_in_situ, melanoma_invasive, melanoma_metastasis,
        metastatic_melanoma, melanoma_less_than_0_76_mm, melanoma_0_76_to_1_5_mm, melanoma_more_than_1_5_mm,
        lentigo_maligna, lentigo_maligna_melanoma, superficial_spreading_melanoma, superficial_spreading_melanoma_ssm,
        nodular_melanoma, nodular_melanoma_nm, acral_lentiginous_melanoma, melanoma_acral_lentiginous,
        desmoplastic_melanoma, amelanotic_melanoma, nevoid_melanoma""",
    "nv": """
        nevus, nevi, naevus, nev, nevus_nos, melanocytic_nevus, melanocytic_nevi, melanocytic_naevus, nevocytic_nevus,
        benign_nevus, common_nevus, junctional_nevus, compound_nevus, dermal_nevus, intradermal_nevus, blue_nevus,
        clark_nevus, combined_nevus, congenital_nevus, recurrent_nevus, dysplastic_nevus, atypical_nevus, spitz_nevus,
        reed_nevus, reed_or_spitz_nevus, halo_nevus, acral_nevus, persistent_nevus, nevus_spitz, nevus_reed,
        nevus_congenital, nevus_combined, nevus_blue, nevus_acral, nevus_spilus, nevus_halo, nevus_recurrent,
        nevus_balloon_cell, nevus_deep_penetrating, nevus_atypical, nevus_dysplastic,
        nevus_atypical_dysplastic_or_clark, nevus_recurrent_or_persistent, atypical_spindle_cell_nevus_of_reed,
        pigmented_spindle_cell_nevus_of_reed""",
    "bcc": """
        basal_cell_carcinoma, basal_cell_carcinoma_nos, basal_cell_carcinoma_superficial,
        basal_cell_carcinoma_nodular, basal_cell_carcinoma_infiltrating, basal_cell_carcinoma_morpheiform,
        basal_cell_carcinoma_pigmented, solid_cystic_basal_cell_carcinoma, superficial_basal_cell_carcinoma,
        nodular_basal_cell_carcinoma, pigmented_basal_cell_carcinoma""",
    "ak": "ack, actinic_keratosis, actinic_keratoses, solar_keratosis, solar_or_actinic_keratosis",
    "akiec": """
        ack, actinic_keratosis, actinic_keratoses, solar_keratosis, solar_or_actinic_keratosis,
        actinic_keratosis_intraepidermal_carcinoma, actinic_keratoses_and_intraepithelial_carcinoma,
        actinic_keratoses_and_intraepithelial_carcinomae, actinic_keratosis_bowens_disease,
        actinic_keratoses_and_intraepithelial_carcinoma_bowens_disease, intraepithelial_carcinoma,
        intraepidermal_carcinoma, bowens_disease, bowen, bowen_disease, squamous_cell_carcinoma_in_situ,
        squamous_cell_carcinoma_in_situ_bowens_disease""",
    "scc": """
        sccka, squamous_cell_carcinoma, squamous_cell_carcinoma_nos, squamous_cell_carcinoma_invasive,
        invasive_squamous_cell_carcinoma, squamous_cell_carcinoma_keratoacanthoma, keratoacanthoma, bowens_disease,
        bowen, bowen_disease, squamous_cell_carcinoma_in_situ, squamous_cell_carcinoma_in_situ_bowens_disease""",
    "bkl": """
        sek, sk, benign_keratosis, benign_keratoses, benign_keratosis_like_lesion, benign_keratosis_like_lesions,
        benign_keratinocytic_lesion, pigmented_benign_keratosis, seborrheic_keratosis, seborrhoeic_keratosis,
        seborrheic_keratoses, seborrheic_keratosis_irritated, solar_lentigo, solar_lentigines, lichenoid_keratosis,
        benign_lichenoid_keratosis, lichen_planus_like_keratosis""",
    "df": "dermatofibroma, dermatofibromas",
    "vasc": """
        vascular_lesion, vascular_lesions, vascular, angioma, cherry_angioma, hemangioma, haemangioma, angiokeratoma,
        pyogenic_granuloma""",
}


def _aliases() -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for code, names in _NAMES.items():
        for name in names.split(","):
            found[name.strip()] = (*found.get(name.strip(), ()), code)
    return found


#: Codes that a folded name may stand for.
ALIASES: Mapping[str, tuple[str, ...]] = _aliases()
#: Whether classes of MILK10k that no taxonomy here has are malignant, as it publishes them.
FURTHER_MALIGNANT: Mapping[str, bool] = {"ben_oth": False, "inf": False, "mal_oth": True, "sccka": True}
#: Folded words for a diagnosis that is not known.
UNKNOWN = frozenset({"unk", "unknown", "indeterminate", "undetermined", "not_known"})


def fold(text: str) -> str:
    """A name in lower case, its words joined by `_`; other signs do not count."""
    return re.sub(r"[\W_]+", "_", re.sub("['`\u2019]", "", text.lower())).strip("_")


def class_in(text: str, taxonomy: LabelSet) -> str | None:
    """Code of a taxonomy for a label: by code, by display name, or by a name in use; None when it has none.

    The ISIC archive writes subtypes behind a comma (`Nevus, NOS, Compound`); such a name is the class of its beginning.

    Args:
        text: Label as a table writes it.
        taxonomy: Label set whose codes are asked for.
    """
    wanted = text.strip().lower()
    for label in taxonomy:
        if label.code.lower() == wanted:
            return label.code
    parts = text.split(",")
    for count in range(len(parts), 0, -1):
        folded = fold(",".join(parts[:count]))
        for label in taxonomy:
            if folded in {fold(label.code), fold(label.name)}:
                return label.code
        known = {code.lower(): code for code in taxonomy.codes}
        for code in ALIASES.get(folded, ()):
            if code in known:
                return known[code]
    return None


def is_unknown(text: str, labels: LabelSet | None) -> bool:
    """Whether a label says that the diagnosis is not known, and is no class of the label set."""
    return fold(text) in UNKNOWN and (labels is None or class_in(text, labels) is None)


def class_of(text: str, labels: LabelSet | None) -> str | None:
    """Class code of a label that the label set has, or that a declared crosswalk brings to it.

    Args:
        text: Label as a table writes it.
        labels: Label set of the model; None takes the first known taxonomy that has the label, else the name itself.
    """
    if labels is None:
        found = (class_in(text, taxonomy) for taxonomy in TAXONOMIES.values())
        return next((code for code in found if code is not None), fold(text) or None)
    own = class_in(text, labels)
    if own is not None:
        return own
    for walk in _walks_to(labels):
        code = class_in(text, TAXONOMIES[walk.source])
        if code is not None and code in walk.mapping:
            return code
    return None


def malignant_flags(labels: LabelSet | None) -> dict[str, bool | None]:
    """Whether a class counts as malignant, by code: as the label set says, else the known taxonomies."""
    flags: dict[str, bool | None] = dict(FURTHER_MALIGNANT)
    flags |= {x.code: x.malignant for known in TAXONOMIES.values() for x in known}
    return flags | {x.code: x.malignant for x in labels or ()}


def names_of(text: str) -> frozenset[str]:
    """Folded names by which a label may be called: its own, and its codes in the known taxonomies."""
    codes = (class_in(text, taxonomy) for taxonomy in TAXONOMIES.values())
    return frozenset({fold(text), *(fold(code) for code in codes if code is not None)})


def same_class(wanted: str, text: str) -> bool:
    """Whether a name that a user gives (SCC) means a label of a table (squamous cell carcinoma)."""
    if fold(wanted) in names_of(text):
        return True
    names = names_of(wanted) - {fold(wanted)}
    # A name of several classes, such as Bowen's disease, means none of them as a whole.
    return len(names) == 1 and fold(text) in names


@dataclass(frozen=True, slots=True)
class ClassMapping:
    """Codes of reference labels brought to a label set.

    Attributes:
        codes: Code of the label set by code of the reference.
        note: What the crosswalks lose, in words; empty when nothing.
    """

    codes: Mapping[str, str]
    note: str


def map_classes(codes: Iterable[str], labels: LabelSet) -> ClassMapping:
    """Map codes of reference labels to a label set: the same code, or by a declared crosswalk.

    Args:
        codes: Codes of the reference labels.
        labels: Label set of the model.

    Raises:
        InvalidArgumentError: No crosswalk leads from a code to the label set.
    """
    wanted = sorted(set(codes))
    own = {code: code for code in wanted if code in labels.codes}
    rest = [code for code in wanted if code not in own]
    if not rest:
        return ClassMapping(own, "")
    walks = _walks_to(labels)
    whole = [walk for walk in walks if set(wanted) <= set(walk.mapping)]
    # One taxonomy for all of them if there is one; else the first that has each.
    used: list[Crosswalk] = []
    for code in rest:
        walk = next((walk for walk in (*whole, *walks) if code in walk.mapping), None)
        if walk is None:
            raise InvalidArgumentError(_no_walk(rest, labels), parameter="labels")
        own[code] = walk.mapping[code]
        used += [walk] if walk not in used else []
    return ClassMapping(own, "; ".join(_note(walk) for walk in used))


def _walks_to(labels: LabelSet) -> Sequence[Crosswalk]:
    walks = (CROSSWALKS.get((name, labels.name)) for name in TAXONOMIES)
    return [walk for walk in walks if walk is not None and set(walk.mapping.values()) <= set(labels.codes)]


def _note(walk: Crosswalk) -> str:
    loss = f": {walk.lossy}" if walk.lossy else ""
    return f"reference labels of {walk.source} mapped to {walk.target}{loss}"


def _no_walk(codes: Sequence[str], labels: LabelSet) -> str:
    return (
        f"The labels hold {', '.join(codes)}, which predictions of {', '.join(labels.codes)} cannot answer; "
        "no crosswalk is declared. Leave these images out, or evaluate predictions of these classes."
    )
