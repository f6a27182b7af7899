"""Tables and a picture of what was measured, from the files that `benchmarks/` wrote with `--json` and from cards."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from generator import aims, model_blocks, speed_blocks
from generator.markdown import machine_of, table

ROOT = Path(__file__).resolve().parents[2]
#: Written by `benchmarks/`, with the option `--json`.
RESULTS = ROOT / "docs" / "measured"
PICTURE = ROOT / "docs" / "pictures" / "speed.svg"
#: Documents with blocks that are made here.
DOCUMENTS = (
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("speed", "serve", "gate", "training", "metadata", "weights")),
    ROOT / "docs" / "explanation" / "aims.md",
)
_BLOCK = re.compile(r"(<!-- made by docs/generate\.py: ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_OURS = {"skinclf": "skinclf", "skinclf_full": "skinclf, JPEGs decoded in full"}
_WAYS = {
    **_OURS,
    "keras_batch": "Keras, batches, OpenCV",
    "keras_per_image": "Keras, one by one, OpenCV",
    "torch_dataloader": "torch with a `DataLoader`",
    "timm_inference": "timm's inference script",
    "transformers_pipeline": "transformers' pipeline",
    "pybioclip": "as pybioclip reads files",
    "torchxrayvision": "as torchxrayvision reads files",
}
#: What another way than the fastest other one is compared with: files of 600 x 450, then photographs.
_BASES = ("keras_batch", "skinclf_full")


def stale() -> list[str]:
    """Names of documents and pictures that are not those of the results."""
    return sorted(
        path.relative_to(ROOT).as_posix()
        for path, text in files().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    )


def write() -> None:
    """Write what differs."""
    for name in stale():
        path = ROOT / name
        path.write_text(files()[path], encoding="utf-8")


def files() -> dict[Path, str]:
    """Every document with its blocks, and the picture, as the results say; without results the blocks are empty."""
    made: dict[Path, str] = {}
    for path in DOCUMENTS:
        start, *rest = _BLOCK.split(path.read_text(encoding="utf-8"))
        parts = [start]
        for mark, name, end, after in zip(*(rest[i::4] for i in range(4)), strict=True):
            parts += [mark, block(name, path), end, after]
        made[path] = "".join(parts)
    results = _read("speed.json")
    if results is not None:
        made[PICTURE] = picture(results)
    return made


def _read(name: str) -> Mapping[str, Any] | None:
    path = RESULTS / name
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def block(name: str, page: Path) -> str:
    """Text of one block; empty before anything was measured.

    Args:
        name: Name in the mark.
        page: Document that the block stands in.

    Raises:
        SystemExit: No block has this name.
    """
    makers = {
        "speed in short": (_short, "speed.json"),
        "speed": (_tables, "speed.json"),
        "memory": (_memory, "speed.json"),
        "many cores": (_cores, "scaling.json"),
        "training": (_training, "training.json"),
        "server": (_server, "serve.json"),
        "server memory": (_server_memory, "serve-memory.json"),
        "gate": (_gate, "gate-cost.json"),
        "duplicates": (_duplicates, "duplicates.json"),
        **speed_blocks.BLOCKS,
        **model_blocks.BLOCKS,
    }
    own = {**model_blocks.OWN, **speed_blocks.OWN, **aims.OWN}
    if name in own:
        return own[name]()
    if name not in makers:
        names = ", ".join([*makers, *own])
        raise SystemExit(f"{page.name}: no block is called {name!r}; expected one of {names}.")
    maker, file = makers[name]
    results = _read(file)
    if results is None:
        return f"Not measured for this version yet: `make bench` writes `docs/measured/{file}`.\n"
    return maker(results, page)


def _short(results: Mapping[str, Any], page: Path) -> str:
    rows = []
    for found in results["comparisons"]:
        ways = found["ways"]
        ours, rate = ways["skinclf"], ways["skinclf"]["images_per_s"]
        best = fastest_other(ways)
        cells = [_job(found), f"{rate:.1f}"]
        if best is None:
            cells += ["", ""]
        else:
            other = ways[best]["images_per_s"]
            cells += [f"{other:.1f} ({_WAYS[best].replace('`', '')})", f"{rate / other:.1f}"]
        full = ways.get("skinclf_full")
        cells.append("" if full is None else f"{rate / full['images_per_s']:.1f}")
        cells.append(f"{rate / ours['limit']:.0%}")
        rows.append(cells)
    header = (
        "files and network",
        "skinclf, images/s",
        "fastest other way",
        "times",
        "times full decoding",
        "of the machine's limit",
    )
    image = f"![Images per second]({_picture_from(page)})"
    return f"{machine_of(results)} All in float32.\n\n{table(header, rows)}\n{image}\n"


def _tables(results: Mapping[str, Any], page: Path) -> str:
    parts = [
        machine_of(results),
        f"\nOne run of `python {results['command']}`, {results['seconds']} seconds.\n",
    ]
    for found in results["comparisons"]:
        ways = found["ways"]
        bases = [base for base in dict.fromkeys((*_BASES, fastest_other(ways))) if base in ways]
        header = (
            "way",
            "images/s",
            *(f"times {_WAYS[b]}" for b in bases),
            "of the limit",
            "decode",
            "network",
        )
        rows = []
        for name, row in sorted(ways.items(), key=lambda item: -item[1]["images_per_s"]):
            rate = row["images_per_s"]
            cells = [f"{_WAYS[name]}", f"{rate:.1f}"]
            cells += [f"{rate / ways[base]['images_per_s']:.2f}" for base in bases]
            limited = "limit" in row
            cells += [
                f"{rate / row['limit']:.0%}" if limited else "",
                *(f"{row[key]:.1f}" if limited else "" for key in ("decode", "network")),
            ]
            rows.append(cells)
        parts.append(f"\n{_job(found)}, {found['megabytes']:.2f} MB each:\n\n{table(header, rows)}")
    parts.append(f"\n![Images per second]({_picture_from(page)})\n")
    return "".join(parts)


def _memory(results: Mapping[str, Any], page: Path) -> str:  # noqa: ARG001 - the form of all makers
    rows = [
        [str(row["workers"]), "in full" if not row["scaled_decoding"] else "scaled", f"{row['peak_mb']:,}"]
        for row in results["memory"]
    ]
    return table(
        ("decode threads, 20 photographs of 6000 x 4000", "decoded", "peak of the process, MB"), rows
    )


def _cores(results: Mapping[str, Any], page: Path) -> str:  # noqa: ARG001 - the form of all makers
    parts = []
    for found in results["scaling"]:
        ms = {key: f"{1000 * value:.2f}" for key, value in found["stages"].items()}
        parts.append(
            f"JPEGs of {found['files']}. One image takes {ms['decode']} ms of a core to decode and resize and "
            f"{ms['network']} ms for the network; Python's lock is held for {ms['decode_lock']} ms while decoding in "
            f"a thread, or {ms['process_lock']} ms with processes, {ms['network_lock']} ms to start the network and "
            f"{ms['rows']} ms for its row. {_threads_end(found['cores'])}\n\n"
        )
        rows = []
        for row in found["cores"]:
            cells = [str(row["cores"]), f"{row['limit']:.0f}"]
            for way in ("threads", "first", "tuned"):
                rate = row[way]["images_per_s"]
                cells.append(f"{rate:.0f} ({rate / row['limit']:.0%})")
            kind = "processes" if row["tuned"]["processes"] else "threads"
            rows.append([*cells, f"{row['tuned']['workers']} {kind}"])
        header = ("cores", "limit, images/s", "threads, one a core", "at first", "tuned", "that is")
        parts.append(table(header, rows) + "\n")
    return "".join(parts).rstrip("\n") + "\n"


def _threads_end(rows: Sequence[Mapping[str, Any]], share: float = 0.8) -> str:
    """Where decode threads alone stop scaling."""
    for row in rows:
        if row["threads"]["images_per_s"] < share * row["limit"]:
            return f"Threads alone fall below {share:.0%} of the limit at {row['cores']} cores."
    return f"Threads alone keep {share:.0%} of the limit at all of these."


def _training(results: Mapping[str, Any], page: Path) -> str:  # noqa: ARG001 - the form of all makers
    found = results["training"]
    cores, base = int(results["machine"]["cores"]), found[0]
    rows = [
        [
            row["way"],
            row["network"],
            f"{row['input']:.0f}",
            f"{row['train']:.1f}",
            f"{row['train'] / cores:.1f}",
            f"{row['train'] / base['train']:.2f}" if row["network"] == base["network"] else "",
        ]
        for row in found
    ]
    header = (
        "training",
        "network",
        "input alone, images/s",
        "images/s",
        "images/s and core",
        "times plain loop",
    )
    size = f"{results['size']} px, batches of {results['batch_size']}, float32"
    return f"{machine_of(results)} {size}.\n\n{table(header, rows)}"


def _server(results: Mapping[str, Any], page: Path) -> str:  # noqa: ARG001 - the form of all makers
    many = [
        [
            row["way"],
            row["gate"],
            f"{row['images_per_s']:.1f}",
            f"{row['of_predict']:.2f}",
            f"{row['cpu_ms']:.1f}",
        ]
        for row in results["throughput"]
    ]
    one = [
        [
            row["way"],
            row["gate"],
            f"{row['predict_ms']:.1f}",
            f"{row['median_ms']:.1f}",
            f"{row['median_ms'] - row['predict_ms']:+.1f}",
        ]
        for row in results["latency"]
    ]
    return (
        f"{machine_of(results)} Images of 600 x 450, the built-in model; times `predict` are at the same gate.\n\n"
        + table(("32 clients", "gate", "images/s", "times `predict`", "processor ms for each image"), many)
        + "\n"
        + table(("one client", "gate", "`Predictor.predict`, median ms", "median ms", "difference, ms"), one)
    )


def _server_memory(results: Mapping[str, Any], page: Path) -> str:  # noqa: ARG001 - the form of all makers
    rows = [[f"{row['requests']:,}", f"{row['mib']:.0f}"] for row in results["memory"]]
    return table(("requests answered, each with its own row", "MiB of all processes"), rows)


def _gate(results: Mapping[str, Any], page: Path) -> str:  # noqa: ARG001 - the form of all makers
    words = {"off": "`--gate off`", "mark": "`--gate mark`", "marks": "`--gate mark --gate-marks`"}
    rows = []
    for way, found in results["medians"].items():
        more = results["more"].get(way)
        shares = ["", ""] if more is None else [f"{more[key]:+.0%}" for key in ("wall", "cpu")]
        rows.append([words[way], f"{found['wall']:.1f}", shares[0], f"{found['cpu']:.1f}", shares[1]])
    return table((f"{results['images']:,} images", "seconds", "more", "processor seconds", "more"), rows)


def _duplicates(results: Mapping[str, Any], page: Path) -> str:  # noqa: ARG001 - the form of all makers
    rows = [
        [f"the same image, {name}", f"{results['images']:,}", f"{100 * share:.1f} %"]
        for name, share in results["changed_copies_near"].items()
    ]
    for what, all_, near in (
        ("another image of the lesion", "pairs_of_one_lesion", "of_those_near"),
        ("an image of another lesion", "pairs_of_other_lesions", "of_them_near"),
    ):
        count = results[all_]
        rows.append([what, f"{count:,}", f"{100 * results[near] / count:.2g} % ({results[near]:,})"])
    return table(("beside an image of the test part lies", "pairs", "named as looking the same"), rows)


def fastest_other(ways: Mapping[str, Any]) -> str | None:
    """Name of the fastest way that is not skinclf; None where there is none."""
    others = [name for name in ways if name not in _OURS]
    return max(others, key=lambda name: ways[name]["images_per_s"]) if others else None


def _job(found: Mapping[str, Any]) -> str:
    model = "built-in MobileNetV2, scaled decoding" if found["model"] == "built-in" else found["network"]
    return f"{found['width']} x {found['height']} JPEGs, {model}"


def _picture_from(page: Path) -> str:
    folder = page.resolve().parent
    return PICTURE.relative_to(folder if PICTURE.is_relative_to(folder) else ROOT).as_posix()


def picture(results: Mapping[str, Any]) -> str:
    """Bars of images per second for every way, one group for each comparison, as SVG."""
    label, width, line, x = 230, 330, 20, 16
    y, parts = 12, []
    for found in results["comparisons"]:
        ways = sorted(found["ways"].items(), key=lambda item: -item[1]["images_per_s"])
        top = ways[0][1]["images_per_s"]
        y += 22
        parts.append(f'<text x="{x}" y="{y}" font-weight="bold">{escape(_job(found))}</text>')
        y += 8
        for name, row in ways:
            rate, colour = row["images_per_s"], "#0b6e4f" if name in _OURS else "#9aa5b1"
            length = max(1.0, width * rate / top)
            words = escape(_WAYS[name].replace("`", ""))
            parts.append(
                f'<text x="{x + label - 8}" y="{y + 14}" text-anchor="end">{words}</text>'
                f'<rect x="{x + label}" y="{y + 3}" width="{length:.1f}" height="{line - 6}" fill="{colour}"/>'
                f'<text x="{x + label + length + 6:.1f}" y="{y + 14}">{rate:.1f}</text>'
            )
            y += line
    total = x + label + width + 70
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {y + 16}" width="{total}" height="{y + 16}" '
        'font-family="sans-serif" font-size="12" fill="#1b1f24" role="img" aria-label="Images per second of every way">'
    )
    return "\n".join([head, '<rect width="100%" height="100%" fill="#ffffff"/>', *parts, "</svg>"]) + "\n"
