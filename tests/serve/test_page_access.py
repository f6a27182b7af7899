"""The page for everybody: keyboard, contrast, narrow screens, print, and what must always be in sight."""

from __future__ import annotations

import json
import re

import pytest

from skinclf._utils.notice import NOTICE

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra `dev`)")
expect = sync_api.expect

# Milliseconds for a map: the first one loads what draws them.
MAP = 60_000
ANSWERED = "#rows tr:is([data-state=ok], [data-state=failed])"
# Texts whose contrast with what lies behind them is below 4.5:1 (3:1 from 24 px on), by the formula of WCAG 2.
FAINT = """() => {
    const parse = (text) => {
        const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
        return text.startsWith("color(") ? [255 * r, 255 * g, 255 * b, a] : [r, g, b, a];
    };
    const light = (rgb) => {
        const [r, g, b] = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const [r, g, b, a] = parse(getComputedStyle(at).backgroundColor);
            if (a === 1) return [r, g, b];
            if (a > 0) throw new Error(`half transparent: ${at.outerHTML.slice(0, 80)}`);
        }
        return [255, 255, 255];
    };
    const faint = [];
    let seen = 0;
    for (const element of document.querySelectorAll("body *")) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!own || element.closest(":disabled, script, .hidden") || !element.checkVisibility()) continue;
        seen++;
        const style = getComputedStyle(element);
        const [a, b] = [light(parse(style.color).slice(0, 3)), light(behind(element))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5)) faint.push([element.textContent.slice(0, 40), ratio]);
    }
    return { seen, faint };
}"""
WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def uploaded(page, served):
    page.set_input_files("#files", served.files)
    page.check("#confirm")
    expect(page.locator(ANSWERED)).to_have_count(12, timeout=30_000)
    expect(page.locator("#progress")).to_be_hidden()


def test_the_notice_comes_first_and_stays(served, open_page):
    page = open_page(served.address).page
    uploaded(page, served)
    first = page.locator("body > :first-child")
    assert first.inner_text() == NOTICE
    assert first.locator("button").count() == 0
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    expect(first).to_be_in_viewport(ratio=1)
    page.click("#rows tr:nth-child(12) button")
    # The dialog, and what darkens the page behind it, begin below the notice.
    height = first.bounding_box()["height"]
    assert page.locator("#detail").bounding_box()["y"] >= height
    behind = page.evaluate("getComputedStyle(document.getElementById('detail'), '::backdrop').top")
    assert float(behind.removesuffix("px")) == pytest.approx(height, abs=0.5)
    page.keyboard.press("Escape")
    page.emulate_media(media="print")
    expect(first).to_be_visible()
    expect(page.locator("#rows tr")).to_have_count(12)
    expect(page.locator("#provenance")).to_be_visible()
    expect(page.locator("#download")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast(served, open_page, scheme):
    page = open_page(served.address, color_scheme=scheme, reduced_motion="reduce").page
    uploaded(page, served)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", paper))) < 60) == (scheme == "dark")
    moves = "(element) => getComputedStyle(element).transitionDuration"
    assert page.locator("#download").evaluate(moves) == "0s"
    for step in (None, "#rows tr:nth-child(1) button", "#about-open"):
        if step:
            page.click(step)
        found = page.evaluate(FAINT)
        assert found["faint"] == []
        assert found["seen"] > 60
        if step:
            page.keyboard.press("Escape")


@pytest.mark.parametrize("width", [320, 768, 1440])
def test_nothing_scrolls_sideways(served, open_page, width):
    page = open_page(served.address, viewport={"width": width, "height": 700}).page
    assert page.evaluate(WIDE) == 0
    uploaded(page, served)
    assert page.evaluate(WIDE) == 0
    for summary in page.locator("summary").all():
        if summary.evaluate("(element) => !element.parentElement.open"):
            summary.click()
    assert page.evaluate(WIDE) == 0
    for step, dialog in (("#rows tr:nth-child(1) button", "#detail"), ("#about-open", "#about")):
        page.click(step)
        expect(page.locator(dialog)).to_be_visible()
        assert page.locator(dialog).evaluate("(box) => box.scrollWidth - box.clientWidth") == 0
        box = page.locator(dialog).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        page.keyboard.press("Escape")


def test_the_whole_way_by_keyboard(served, open_page):
    page = open_page(served.address).page
    page.on("filechooser", lambda chooser: chooser.set_files(served.files))
    expect(page.locator("#about-open")).to_be_enabled()

    def tab_to(selector, *, most=40):
        for _ in range(most):
            page.keyboard.press("Tab")
            assert page.evaluate(VISIBLE), page.evaluate("document.activeElement.outerHTML")
            if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                return
        pytest.fail(f"{selector} is not reached")

    tab_to("#confirm")
    page.keyboard.press("Space")
    tab_to("#choose-files")
    page.keyboard.press("Enter")
    expect(page.locator(ANSWERED)).to_have_count(12)
    tab_to("#slider")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#chosen")).to_contain_text("point-2")
    tab_to("#filter-all")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#rows tr")).to_have_count(2)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#rows tr")).to_have_count(12)
    tab_to("th[data-sort=p] button")
    page.keyboard.press("Enter")
    expect(page.locator("th[data-sort=p]")).to_have_attribute("aria-sort", "descending")
    tab_to("#rows button")
    name = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    expect(page.locator("#detail-close")).to_be_focused()
    expect(page.locator("#overlay")).to_be_visible(timeout=MAP)
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.textContent") == name


# Whether the focused element, or the label that stands for it, shows an outline.
VISIBLE = """() => {
    const at = document.activeElement;
    const shown = (element) => element && parseFloat(getComputedStyle(element).outlineWidth) >= 2 &&
        getComputedStyle(element).outlineStyle !== "none";
    return shown(at) || shown(at.nextElementSibling);
}"""


def test_every_control_has_a_name(served, open_page):
    page = open_page(served.address).page
    uploaded(page, served)
    page.click("#rows tr:nth-child(1) button")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, input, dialog, img")].filter((element) => {
            if (element.hidden || element.closest("dialog:not([open])") || (element.tagName === "IMG" && element.alt === "")) return false;
            const labelled = element.getAttribute("aria-labelledby");
            const text = element.alt || element.textContent || element.getAttribute("aria-label") ||
                (labelled && document.getElementById(labelled)?.textContent) || element.labels?.[0]?.textContent;
            return !text?.trim();
        }).map((element) => element.outerHTML)"""
    )
    assert unnamed == []
    page.keyboard.press("Escape")
    assert page.get_by_role("table", name="One row for each image").get_by_role("row").count() == 13


def test_limits_and_licence_are_one_click_away(served, open_page):
    page = open_page(served.address).page
    expect(page.locator("#footer")).to_contain_text("CC0-1.0")
    page.click("#about-open")
    about = page.locator("#about")
    stated = json.loads((served.model / "config.json").read_text())["skinclf"]
    for label in stated["labels"]:
        expect(about).to_contain_text(label["name"])
    expect(about).to_contain_text("CC0-1.0")
    expect(about).to_contain_text("Limits")
    assert re.search(r"[0-9a-f]{64}", about.inner_text())


def test_a_token_is_asked_for_and_kept_in_memory_only(served, open_page):
    from support.server import running

    secret = "correct-horse-battery-staple-42"
    with running(served.model, workers=1, token=secret) as server:
        watched = open_page(server.url.rstrip("/"), refusals=True)
        page = watched.page
        expect(page.locator("#token")).to_be_visible()
        page.fill("#token-input", "wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#token")).to_contain_text("did not accept")
        page.fill("#token-input", secret)
        page.keyboard.press("Enter")
        expect(page.locator("#about-open")).to_be_enabled()
        uploaded(page, served)
        assert not [line for line in watched.sent if secret in line]
        assert page.evaluate("[document.cookie, localStorage.length, sessionStorage.length]") == ["", 0, 0]
        page.reload()
        expect(page.locator("#token")).to_be_visible()
