"""Write the example images: `python examples/make_images.py [FOLDER]`."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from skinclf.images.synthetic import synthetic_lesion

SEEDS = (0, 1, 5, 6, 7, 9, 12, 16, 21, 26, 37, 43)  # twelve that differ in tone, structure and artefacts
NOTE = "synthetic: drawn by skinclf.images.synthetic, no patient, not for judging accuracy"
_IMAGE_DESCRIPTION = 0x010E  # EXIF tag


def write_images(folder: Path, seeds: tuple[int, ...] = SEEDS) -> list[Path]:
    """Draw one 600 x 450 JPEG per seed, marked as synthetic in its comment and its EXIF description."""
    folder.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[_IMAGE_DESCRIPTION] = NOTE
    paths = []
    for number, seed in enumerate(seeds, start=1):
        path = folder / f"synthetic-{number:02d}.jpg"
        picture = Image.fromarray(synthetic_lesion(seed))
        picture.save(path, quality=85, optimize=True, comment=NOTE, exif=exif)
        paths.append(path)
    return paths


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images"
    written = write_images(target)
    size = sum(path.stat().st_size for path in written)
    print(f"{len(written)} images in {target}, {size / 1000:.0f} kB")
