"""The page in a real browser against a real server: from a drop to a table that the command line would write."""

from __future__ import annotations

import contextlib
import json
import re

import pytest

from skinclf_cli.errors import PARTLY_FAILED
from skinclf_cli.main import run

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra `dev`)")
expect = sync_api.expect

# Milliseconds for a map: the first one loads what draws them.
MAP = 60_000
ANSWERED = "#rows tr:is([data-state=ok], [data-state=failed])"
# Files as a drop from the desktop brings them; the test's own bytes, so that nothing is read in the browser.
DROP = """(files) => {
    const transfer = new DataTransfer();
    for (const [name, type, text] of files) {
        const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
        transfer.items.add(new File([bytes], name, { type }));
    }
    return transfer;
}"""


def uploaded(page, served, *, folder=False):
    """All twelve images, answered."""
    if folder:
        page.set_input_files("#folder", served.images)
    else:
        page.set_input_files("#files", served.files)
    page.check("#confirm")
    expect(page.locator(ANSWERED)).to_have_count(12, timeout=30_000)
    expect(page.locator("#progress")).to_be_hidden()


def names(page):
    return [text.removeprefix("Details of ") for text in page.locator("#rows .name").all_text_contents()]


def numbers(page):
    """Probabilities in the order of the rows, as shown."""
    return page.locator("#rows .p").all_text_contents()


def command_line(served, tmp_path, threshold):
    """The table that `skinclf predict` writes for the same images."""
    output = tmp_path / "table.csv"
    options = ["--image-dir", served.images.name, "--output", str(output), "--threshold", threshold]
    with contextlib.chdir(served.images.parent):
        assert run(["predict", "--model", str(served.model), *options]) == PARTLY_FAILED
    return output.read_bytes()


def test_twelve_dropped_images_are_twelve_rows(served, open_page):
    import base64

    page = open_page(served.address).page
    page.check("#confirm")
    files = [[path.name, "image/jpeg", base64.b64encode(path.read_bytes()).decode()] for path in served.files]
    transfer = page.evaluate_handle(DROP, files)
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    expect(page.locator(ANSWERED)).to_have_count(12)
    assert names(page) == [path.name for path in served.files]
    expect(page.locator("#rows tr[data-state=failed]")).to_have_count(2)
    failed = page.locator("#rows tr", has_text="notes, of a visit.jpg")
    expect(failed).to_contain_text("No probability.")
    expect(failed.locator(".c-status")).to_contain_text("not an image")
    expect(page.locator("#summary")).to_contain_text("2 failed")


def test_nothing_is_sent_before_the_sentence_is_confirmed(served, open_page):
    watched = open_page(served.address)
    page = watched.page
    expect(page.locator("#about-open")).to_be_enabled()
    page.set_input_files("#files", served.files)
    expect(page.locator("#held")).to_contain_text("12 images waiting")
    assert not [line for line in watched.sent if line.startswith("POST")]
    page.check("#confirm")
    expect(page.locator(ANSWERED)).to_have_count(12)
    expect(page.locator("#confirm")).to_be_disabled()
    assert [line for line in watched.sent if line.startswith("POST /v1/predictions")]


def test_sorting_and_filtering(served, open_page):
    page = open_page(served.address).page
    uploaded(page, served)
    page.click("th[data-sort=p] button")
    expect(page.locator("th[data-sort=p]")).to_have_attribute("aria-sort", "descending")
    down = numbers(page)
    assert down == sorted(down, reverse=True)
    assert len(set(down)) > 3
    assert names(page)[-2:] == ["notes, of a visit.jpg", "null.png"]
    page.click("th[data-sort=p] button")
    expect(page.locator("th[data-sort=p]")).to_have_attribute("aria-sort", "ascending")
    assert numbers(page) == down[::-1]
    page.click("th[data-sort=name] button")
    assert names(page) == [path.name for path in served.files]
    page.click("label[for=filter-failed]")
    expect(page.locator("#rows tr")).to_have_count(2)
    page.click("label[for=filter-flagged]")
    flagged = page.locator("#rows .chip.flagged")
    expect(page.locator("#rows tr")).to_have_count(flagged.count())
    page.click("label[for=filter-all]")
    expect(page.locator("#rows tr")).to_have_count(12)


def test_moving_the_threshold_changes_decisions_and_what_they_cost(served, open_page):
    page = open_page(served.address).page
    uploaded(page, served)
    expect(page.locator("#chosen")).to_have_text("0.300point-1")
    expect(page.locator("#provenance")).to_contain_text("empirical")
    expect(page.locator("#provenance")).to_contain_text("500 images, 100 malignant (20.0 %)")
    stated = json.loads((served.model / "config.json").read_text())["skinclf"]
    expect(page.locator("#provenance")).to_contain_text(stated["name"])
    seen = {}
    for place in range(5):
        page.locator("#slider").fill(str(place))
        expect(page.locator("#chosen")).to_contain_text(f"point-{place}")
        expect(page.locator("#slider")).to_have_attribute("aria-valuetext", re.compile(f"point-{place}"))
        expect(page.locator("#costs")).to_contain_text(f"{99 - 10 * place}.0 %")
        value = 0.1 + 0.2 * place
        expected = sum(float(p.strip("<> ")) >= value for p in numbers(page))
        expect(page.locator("#summary")).to_contain_text(f"{expected} of 10 flagged at this threshold")
        expect(page.locator("#rows .chip.flagged")).to_have_count(expected)
        seen[place] = expected
    assert seen[0] > seen[4]
    words = set(page.locator("#rows .chip").all_text_contents())
    assert words <= {"▲flagged", "○not flagged"}
    assert not re.search(
        r"benign\b(?! keratosis)|\bsafe\b|no action", page.inner_text("#results"), re.IGNORECASE
    )


def test_the_download_is_the_table_of_the_command_line(served, open_page, tmp_path):
    page = open_page(served.address).page
    uploaded(page, served, folder=True)
    page.locator("#slider").fill("3")  # not the server's own
    with page.expect_download() as waiting:
        page.click("#download")
    assert waiting.value.suggested_filename == "predictions.csv"
    found = waiting.value.path().read_bytes()
    expected = command_line(served, tmp_path, "point-3")
    assert found == expected
    assert expected.count(b"\n") == 13


def test_a_map_is_drawn_on_click_and_only_then(served, open_page):
    watched = open_page(served.address)
    page = watched.page
    uploaded(page, served)
    assert not [line for line in watched.sent if "explanations" in line]
    page.click("#rows tr:nth-child(3) button")
    expect(page.locator("#detail-title")).to_have_text("lesion-3.jpg")
    expect(page.locator("#sentence")).to_contain_text("not why it is right", timeout=MAP)
    overlay = page.locator("#overlay")
    expect(overlay).to_be_visible()
    assert (
        overlay.evaluate("(img) => img.decode().then(() => [img.naturalWidth, img.naturalHeight])")[0] >= 100
    )
    expect(page.locator("#detail .classes tr")).to_have_count(7)
    expect(page.locator("#detail")).to_contain_text("counted as malignant")
    page.click("#detail-next")
    expect(page.locator("#detail-title")).to_have_text("lesion-4.jpg")
    expect(page.locator("#overlay")).to_be_visible(timeout=MAP)
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()
    page.click("#rows tr:nth-child(3) button")
    expect(page.locator("#overlay")).to_be_visible(timeout=MAP)
    assert sum("explanations" in line for line in watched.sent) == 2


def test_an_image_that_is_opened_early_shows_its_answer_when_it_comes(served, open_page):
    page = open_page(served.address).page
    held = []
    page.route("**/v1/predictions*", lambda route: held.append(route))  # noqa: PLW0108 - Playwright marks the function
    page.set_input_files("#files", served.files[:1])
    page.check("#confirm")
    page.click("#rows tr:nth-child(1) button")
    expect(page.locator("#detail .problem")).to_have_text("The server has not answered yet.")
    held[0].continue_()
    expect(page.locator("#overlay")).to_be_visible(timeout=MAP)
    expect(page.locator("#detail .classes tr")).to_have_count(7)
    expect(page.locator("#detail-close")).to_be_focused()


def test_a_failed_image_shows_its_reason_and_no_probability(served, open_page):
    page = open_page(served.address).page
    uploaded(page, served)
    page.click("#rows tr:nth-child(12) button")
    expect(page.locator("#detail .problem")).to_contain_text("null.png: ")
    expect(page.locator("#map")).to_have_count(0)
    expect(page.locator("#detail")).not_to_contain_text("P(malignant)")


def test_a_pasted_picture_gets_a_name(served, open_page):
    import base64

    page = open_page(served.address).page
    page.check("#confirm")
    data = base64.b64encode(served.files[0].read_bytes()).decode()
    transfer = page.evaluate_handle(DROP, [["image.png", "image/png", data]])
    page.evaluate(
        "(clipboardData) => document.dispatchEvent(new ClipboardEvent('paste', { clipboardData }))", transfer
    )
    expect(page.locator("#rows tr[data-state=ok]")).to_have_count(1)
    assert names(page) == ["pasted-1.png"]


def test_cancelled_images_are_rows_and_can_be_sent_again(served, open_page):
    page = open_page(served.address).page
    held = []
    page.route("**/v1/predictions*", lambda route: held.append(route))  # noqa: PLW0108 - Playwright marks the function
    page.set_input_files("#files", served.files)
    page.check("#confirm")
    expect(page.locator("#progress-text")).to_have_text("0 of 12 images")
    page.click("#cancel")
    expect(page.locator("#rows tr[data-state=unsent]")).to_have_count(12)
    expect(page.locator("#rows tr").first).to_contain_text("cancelled")
    with page.expect_download() as waiting:
        page.click("#download")
    assert waiting.value.path().read_text().count(",cancelled,") == 12
    page.unroute("**/v1/predictions*")
    page.click("#retry")
    expect(page.locator(ANSWERED)).to_have_count(12)
    expect(page.locator("#retry")).to_be_hidden()
    assert names(page) == [path.name for path in served.files]


def test_a_busy_server_is_asked_again_and_a_lost_one_costs_rows_not_the_page(served, open_page):
    page = open_page(served.address, refusals=True).page
    error = json.dumps({"error": {"code": "busy", "message": "The queue is full."}})
    refused = []

    def answer(route):
        refused.append(route)
        if len(refused) > 1:
            route.continue_()
            return
        headers = {"Retry-After": "1", "Content-Type": "application/json"}
        route.fulfill(status=503, headers=headers, body=error)

    page.route("**/v1/predictions*", answer)
    page.set_input_files("#files", served.files[:1])
    page.check("#confirm")
    expect(page.locator("#rows tr[data-state=ok]")).to_have_count(1)
    assert len(refused) == 2
    page.unroute("**/v1/predictions*")
    page.route("**/v1/predictions*", lambda route: route.abort())
    page.set_input_files("#files", served.files[1:3])
    expect(page.locator("#rows tr[data-state=unsent]")).to_have_count(2)
    expect(page.locator("#rows tr").nth(1)).to_contain_text("The server did not answer")
    expect(page.locator("#rows tr[data-state=ok]")).to_have_count(1)


def test_forget_empties_the_page(served, open_page):
    page = open_page(served.address, refusals=True).page
    uploaded(page, served)
    address = page.locator("#rows img").first.get_attribute("src")
    assert address.startswith("blob:")
    page.click("#forget")
    expect(page.locator("#results")).to_be_hidden()
    expect(page.locator("#rows tr")).to_have_count(0)
    expect(page.locator("#confirm")).not_to_be_checked()
    assert page.evaluate("(url) => new Promise((done) => {"
                         "const image = new Image(); image.onload = () => done('there');"
                         "image.onerror = () => done('gone'); image.src = url; })", address) == "gone"  # fmt: skip
    stored = page.evaluate("[document.cookie, localStorage.length, sessionStorage.length]")
    assert stored == ["", 0, 0]
    assert "lesion-" not in page.content()


def test_the_saved_page_needs_no_server(served, open_page, browser, tmp_path):
    page = open_page(served.address).page
    uploaded(page, served)
    with page.expect_download() as waiting:
        page.click("#save-page")
    file = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(file)
    context = browser.new_context(offline=True)
    alone, asked, console = context.new_page(), [], []
    alone.on("request", lambda request: asked.append(request.url))
    alone.on("console", lambda message: console.append(message.text))
    alone.goto(file.as_uri())
    expect(alone.locator("body > :first-child")).to_contain_text("never a diagnosis")
    expect(alone.locator("tbody tr")).to_have_count(12)
    expect(alone.locator("main")).to_contain_text("empirical")
    expect(alone.locator("main")).to_contain_text("not an image")
    assert alone.locator("tbody img").count() == 10
    assert all(url.startswith(("file:", "data:")) for url in asked)
    assert console == []
    context.close()
