"""Catalogue of public data sets: addresses, licences, citations and checksums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from skinclf.errors import InvalidArgumentError


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """One file of a source.

    Attributes:
        name: File name on disk.
        path: Path below the base URL; the name when empty.
        checksum: Checksum of the publisher, `md5:...` or `sha256:...`; None where none is published, and the hash of
            the first download is then recorded.
        members: Patterns of the archive members to unpack; empty means all.
    """

    name: str
    path: str = ""
    checksum: str | None = None
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One publisher of a data set.

    Attributes:
        bases: Base URLs of the same files, tried in turn.
        files: Files to fetch.
        labels: Patterns of the tables that `prepare` reads, labels first.
        token: Whether a Kaggle token is needed.
    """

    bases: tuple[str, ...]
    files: tuple[RemoteFile, ...]
    labels: tuple[str, ...]
    token: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """A public data set.

    Attributes:
        title: Name, size and content.
        page: Address of its description.
        licence: Licence of use.
        citations: Publications to cite.
        taxonomy: Name of the taxonomy of its labels.
        sources: Sources by name; without a choice, those without a token are tried in this order.
    """

    title: str
    page: str
    licence: str
    citations: tuple[str, ...]
    taxonomy: str
    sources: Mapping[str, Source]


_TSCHANDL = (
    "Tschandl, P., Rosendahl, C. & Kittler, H. The HAM10000 dataset, a large collection of multi-source "
    "dermatoscopic images of common pigmented skin lesions. Sci. Data 5, 180161 (2018). "
    "https://doi.org/10.1038/sdata.2018.161"
)
_CODELLA = (
    "Codella, N. et al. Skin lesion analysis toward melanoma detection: a challenge at the 2017 International "
    "Symposium on Biomedical Imaging (ISBI), hosted by the International Skin Imaging Collaboration (ISIC). "
    "arXiv:1710.05006 (2017)"
)
_COMBALIA = "Combalia, M. et al. BCN20000: dermoscopic lesions in the wild. arXiv:1908.02288 (2019)"
_NON_COMMERCIAL = "CC BY-NC 4.0 (https://creativecommons.org/licenses/by-nc/4.0/)"


def _isic(year: int) -> tuple[str, ...]:
    return (
        f"https://isic-archive.s3.amazonaws.com/challenges/{year}",
        f"https://isic-challenge-data.s3.amazonaws.com/{year}",
    )


DATASETS: Mapping[str, DataSet] = {
    "ham10000": DataSet(
        title="HAM10000: 10,015 dermatoscopic images of 7,470 lesions in seven classes (2.8 GB)",
        page="https://doi.org/10.7910/DVN/DBW86T",
        licence=_NON_COMMERCIAL,
        citations=(_TSCHANDL,),
        taxonomy="ham10000",
        sources={
            # File numbers and MD5 of version 4. The table was converted on upload; only the original has that MD5.
            "dataverse": Source(
                bases=("https://dataverse.harvard.edu/api/access/datafile",),
                files=(
                    RemoteFile(
                        name="HAM10000_metadata.csv",
                        path="4338392?format=original",
                        checksum="md5:8f85fb1aa29d80a2797247e434deb79d",
                    ),
                    RemoteFile(
                        name="HAM10000_images_part_1.zip",
                        path="3172585",
                        checksum="md5:4639bfa73ab251610530a97c898e6e46",
                    ),
                    RemoteFile(
                        name="HAM10000_images_part_2.zip",
                        path="3172584",
                        checksum="md5:da43d6cc50f6613013be07e8986b384b",
                    ),
                ),
                labels=("HAM10000_metadata.csv",),
            ),
            "isic": Source(
                bases=_isic(2018),
                files=(
                    RemoteFile(name="ISIC2018_Task3_Training_GroundTruth.zip"),
                    RemoteFile(name="ISIC2018_Task3_Training_LesionGroupings.csv"),
                    RemoteFile(name="ISIC2018_Task3_Training_Input.zip"),
                ),
                labels=("*Training_GroundTruth.csv", "*Training_LesionGroupings.csv"),
            ),
            "kaggle": Source(
                bases=("https://www.kaggle.com/api/v1/datasets/download",),
                files=(
                    RemoteFile(
                        name="skin-cancer-mnist-ham10000.zip",
                        path="kmader/skin-cancer-mnist-ham10000",
                        # The archive holds every image twice, the second time in folders in lower case.
                        members=("HAM10000_images_part_?/*", "HAM10000_metadata.csv"),
                    ),
                ),
                labels=("HAM10000_metadata.csv",),
                token=True,
            ),
        },
    ),
    "isic2019": DataSet(
        title="ISIC 2019: 25,331 dermoscopic images in eight classes (9.1 GB)",
        page="https://challenge.isic-archive.com/data/#2019",
        licence=_NON_COMMERCIAL,
        citations=(_TSCHANDL, _CODELLA, _COMBALIA),
        taxonomy="isic2019",
        sources={
            "isic": Source(
                bases=(*reversed(_isic(2019)), "https://s3.amazonaws.com/isic-challenge-2019"),
                files=(
                    RemoteFile(name="ISIC_2019_Training_GroundTruth.csv"),
                    RemoteFile(name="ISIC_2019_Training_Metadata.csv"),
                    RemoteFile(name="ISIC_2019_Training_Input.zip"),
                ),
                labels=("*Training_GroundTruth.csv", "*Training_Metadata.csv"),
            ),
            "kaggle": Source(
                bases=("https://www.kaggle.com/api/v1/datasets/download",),
                files=(
                    RemoteFile(
                        name="isic-2019.zip",
                        path="andrewmvd/isic-2019",
                        members=("ISIC_2019_Training_*",),
                    ),
                ),
                labels=("*Training_GroundTruth.csv", "*Training_Metadata.csv"),
                token=True,
            ),
        },
    ),
}


def find_dataset(name: str) -> DataSet:
    """Find a data set by name.

    Raises:
        InvalidArgumentError: No data set has this name.
    """
    try:
        return DATASETS[name.lower()]
    except KeyError:
        raise InvalidArgumentError(
            f"Unknown data set {name!r}; expected one of {', '.join(DATASETS)}."
        ) from None
