"""The report: one file that needs nothing else, drawn from metrics.json alone."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib as mpl
import pytest
from PIL import Image
from support.evaluation_tables import write_labels, write_predictions, write_rows

from skinclf.errors import InvalidArgumentError
from skinclf.evaluation.evaluate import evaluate
from skinclf.evaluation.report import style, write_report
from skinclf.evaluation.report.checklist import checklist
from skinclf.evaluation.report.page import FIGURES, draw, render
from skinclf.evaluation.result import Evaluation
from skinclf.labels import HAM10000, MALIGNANT

FEW = {"replicates": 40}
VOID = {"meta", "img", "br"}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    rows = [row for row in write_labels(folder / "labels.csv") if row["split"] == "test"]
    write_predictions(folder / "p.csv", rows)
    write_predictions(folder / "b.csv", rows, skill=1.5, seed=5)
    write_predictions(folder / "two.csv", rows, labels=MALIGNANT)
    binary = [{"image": r["image_id"], "label": str(int(r["dx"] in {"mel", "bcc", "akiec"}))} for r in rows]
    write_rows(folder / "binary.csv", binary)
    return folder


@pytest.fixture(scope="module")
def metrics(tables: Path) -> dict:
    got = evaluate(
        tables / "p.csv",
        tables / "labels.csv",
        split="test",
        threshold=0.3,
        compare=tables / "b.csv",
        name="A <model> & more",
        prevalence=0.05,
        **FEW,
    )
    return dict(got.metrics)


@pytest.fixture(scope="module")
def written(metrics: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    pictures = folder / "pictures" / "deep"
    pictures.mkdir(parents=True)
    for rows in metrics["errors"].values():
        for row in rows[:4]:
            Image.new("RGB", (600, 450), (180, 90, 60)).save(pictures / row["image"])
    broken = metrics["errors"]["missed"][0]["image"]
    (pictures / broken).write_bytes(b"no picture")
    Evaluation(metrics).write(folder / "out", images=folder / "pictures")
    return folder / "out"


class Balanced(HTMLParser):
    """Fails on tags that do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.attributes += [(tag, k, v or "") for k, v in attrs]
        self.ids += [v for k, v in attrs if k == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag


def parse(page: str) -> Balanced:
    parser = Balanced()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))
    return parser


def test_page_holds_everything_in_itself(written: Path) -> None:
    page = (written / "report.html").read_text()
    parser = parse(page)
    outside = [
        v for _, k, v in parser.attributes if k in {"src", "href"} and not v.startswith(("data:", "#"))
    ]
    assert outside == []
    assert "<script" not in page
    assert "url(" not in page
    anchors = {v[1:] for _, k, v in parser.attributes if k == "href"}
    assert anchors <= set(parser.ids)
    assert all(v for tag, k, v in parser.attributes if tag == "img" and k == "alt")
    assert "nan" not in re.sub(r"data:[^\"]+", "", page).lower().split()
    assert page.count("not a medical device") >= 2


def test_every_figure_is_a_png_and_in_the_page(written: Path) -> None:
    page = (written / "report.html").read_text()
    assert {path.stem for path in (written / "figures").iterdir()} == set(FIGURES)
    for path in (written / "figures").iterdir():
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 200
        assert base64.b64encode(path.read_bytes()).decode() in page


def test_figures_of_the_page_are_those_of_the_json(written: Path, metrics: dict) -> None:
    page = (written / "report.html").read_text()
    point = metrics["operating_point"]["image"]
    assert f"{100 * point['sensitivity']['value']:.1f}" in page
    assert f"{metrics['binary']['roc_auc']['value']:.3f}" in page
    for label in HAM10000:
        assert label.name.replace("'", "&#39;") in page
    assert "5.0\u2009%" in page  # the stated prevalence
    assert json.loads((written / "metrics.json").read_text()) == metrics


def test_names_are_escaped(written: Path) -> None:
    page = (written / "report.html").read_text()
    assert "A &lt;model&gt; &amp; more" in page
    assert "<model>" not in page


def test_errors_are_shown_small(written: Path, metrics: dict) -> None:
    parser = parse((written / "report.html").read_text())
    thumbs = [
        v
        for tag, k, v in parser.attributes
        if tag == "img" and k == "src" and v.startswith("data:image/jpeg")
    ]
    broken = metrics["errors"]["missed"][0]["image"]
    shown = {row["image"] for rows in metrics["errors"].values() for row in rows[:4]} - {broken}
    assert len(thumbs) >= len(shown)
    with Image.open(io.BytesIO(base64.b64decode(thumbs[0].partition(",")[2]))) as picture:
        assert max(picture.size) == 224
    assert broken in (written / "report.html").read_text()


def test_page_is_made_from_the_file_alone(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same figures, to the byte, from metrics.json as from memory."""
    some = {name: FIGURES[name] for name in ("roc", "confusion", "subgroups")}
    monkeypatch.setattr("skinclf.evaluation.report.page.FIGURES", some)
    again = write_report(json.loads((written / "metrics.json").read_text()), tmp_path)
    assert again[0].read_text().count("data:image/png") == len(some)
    for path in again[1:]:
        assert path.read_bytes() == (written / "figures" / path.name).read_bytes(), path.name


def test_two_classes_only(tables: Path, tmp_path: Path) -> None:
    got = evaluate(tables / "two.csv", tables / "labels.csv", split="test", **FEW).metrics
    stale = tmp_path / "differences.png"
    stale.write_bytes(b"from an earlier run")
    figures = draw(got, tmp_path)
    assert set(figures) == set(FIGURES) - {"differences"}
    assert not stale.exists()
    page = render(got, figures)
    parse(page)
    assert "the default of 0.5; nobody chose it" in page


def test_labels_that_only_say_malignant(tables: Path, tmp_path: Path) -> None:
    got = evaluate(tables / "p.csv", tables / "binary.csv", threshold=0.3, **FEW).metrics
    figures = draw(got, tmp_path)
    assert {"confusion", "per_class", "risk_coverage", "flagged"}.isdisjoint(figures)
    page = render(got, figures)
    parse(page)
    assert "every image counts as independent" in page


def test_a_sample_of_one_kind_still_gives_a_page(tmp_path: Path) -> None:
    rows = [row for row in write_labels(tmp_path / "l.csv") if row["dx"] == "nv"]
    write_rows(tmp_path / "l.csv", rows)
    write_predictions(tmp_path / "p.csv", rows)
    got = evaluate(tmp_path / "p.csv", tmp_path / "l.csv", replicates=5).metrics
    parse(render(got, draw(got, tmp_path)))


def test_leakage_stands_at_the_top(metrics: dict) -> None:
    leaked = {
        **metrics,
        "leakage": {**metrics["leakage"], "found": ["val.csv shares 3 lesions."], "allowed": True},
    }
    page = render(leaked, {})
    assert page.index("Data under test were seen before") < page.index("Data and checks</h2>")


def test_checklist_does_not_claim_what_is_missing(metrics: dict) -> None:
    full = {item.topic: item.covered for item in checklist(metrics)}
    assert full["Overlap of development and test data"] == "yes"
    assert full["Fairness across subgroups"] == "yes"
    assert full["Threshold fixed before the test"] == "partly"  # a number, whose origin nobody knows
    poor = checklist({**metrics, "subgroups": [], "leakage": {**metrics["leakage"], "compared_with": []}})
    less = {item.topic: item.covered for item in poor}
    assert less["Overlap of development and test data"] == "no"
    assert less["Fairness across subgroups"] == "no"


def test_images_folder_must_exist(metrics: dict, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="nowhere"):
        write_report(metrics, tmp_path, images=tmp_path / "nowhere")


def test_style_leaves_no_trace(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    with style.canvas(tmp_path / "x.png") as (_, axes):
        axes.plot([0, 1], [0, 1])
    assert dict(mpl.rcParams) == before


def test_malignant_classes_are_solid_and_colours_differ() -> None:
    for taxonomy in (HAM10000, MALIGNANT):
        labels = taxonomy.to_dict()["labels"]
        styles = style.line_styles(labels)
        assert len({s["color"] for s in styles.values()}) == len(labels)
        assert all((styles[x["code"]]["linestyle"] == "-") == x["malignant"] for x in labels)
