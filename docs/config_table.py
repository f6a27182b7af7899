"""Write the table of configurations into docs/training.md; a test compares the two.

Run after a configuration has changed: python docs/config_table.py
"""

from __future__ import annotations

from pathlib import Path

from skinclf_training.config.read import load_config
from skinclf_training.config.schema import Config

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "training.md"
START, END = "<!-- configurations: made by docs/config_table.py -->\n", "<!-- end -->\n"
HEAD = (
    "`--config`",
    "framework",
    "network",
    "pixels",
    "labels",
    "loss",
    "augmentation",
    "epochs",
    "chosen by",
)


def row(config: Config) -> tuple[str, ...]:
    """One configuration in the columns of `HEAD`."""
    p, loss = config.preprocess, config.loss
    weights = "" if loss.class_weights == "none" else f", weights `{loss.class_weights}`"
    sampler = ", weighted sampler" if config.data.sampler == "weighted" else ""
    distilled = ", distilled" if config.distill.weight > 0 else ""
    return (
        f"`{config.name}`",
        config.framework,
        config.model.architecture,
        f"{p.height} x {p.width}",
        config.labels,
        f"`{loss.kind}`{weights}{sampler}{distilled}",
        f"`{config.augment.preset}`",
        str(config.optim.epochs),
        f"`{config.select}`",
    )


def table() -> str:
    """Every configuration that comes with skinclf, by name."""
    configs = [
        load_config(str(path))
        for path in sorted((ROOT / "training" / "configs").glob("*.yaml"), key=lambda path: path.stem)
    ]
    lines = [HEAD, ("---",) * len(HEAD), *map(row, configs)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def with_table(page: str) -> str:
    """The page with the table of now between its marks."""
    before, rest = page.split(START)
    return before + START + table() + END + rest.split(END, 1)[1]


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
