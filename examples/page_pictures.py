"""Draw `docs/pictures/serve-*.png`: the page of `skinclf serve` with synthetic images, light, dark and narrow.

Needs the extra `serve`, Playwright and Chromium: `python examples/page_pictures.py`.
"""

from __future__ import annotations

import argparse
import io
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import expect, sync_playwright

from skinclf.images.synthetic import synthetic_lesion

#: File name, width and height of the window in pixels, colour scheme, whether an image is opened.
PICTURES = (
    ("serve-light.png", 1280, 900, "light", False),
    ("serve-dark.png", 1280, 900, "dark", False),
    ("serve-map.png", 1280, 900, "light", True),
    ("serve-narrow.png", 360, 780, "light", False),
)


@contextmanager
def serving() -> Iterator[str]:
    """A server with the built-in model; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen([sys.executable, "-m", "skinclf", "serve", "--port", str(port)]) as process:  # noqa: S603
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"{address}/readyz", timeout=2).close()  # noqa: S310
                    break
                except OSError:
                    time.sleep(0.2)
            yield address
        finally:
            process.terminate()


def draw(page: Any, files: list[Path], *, opened: bool) -> None:
    """Upload the files and, where asked, open the second image with its map."""
    page.set_input_files("#files", files)
    page.check("#confirm")
    expect(page.locator("#rows tr:is([data-state=ok], [data-state=failed])")).to_have_count(len(files))
    if opened:
        page.click("#rows tr:nth-child(2) button")
        expect(page.locator("#overlay")).to_be_visible(timeout=60_000)
    elif page.viewport_size["width"] < 600:
        page.evaluate("document.getElementById('results').scrollIntoView()")
    page.wait_for_timeout(300)


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/pictures"))
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, serving() as address, sync_playwright() as playwright:
        files = [Path(folder) / f"lesion-{i}.jpg" for i in range(1, 8)] + [Path(folder) / "notes.jpg"]
        for seed, path in enumerate(files[:-1]):
            Image.fromarray(synthetic_lesion(seed + 20)).save(path, quality=90)
        files[-1].write_text("This is no image.\n")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, width, height, scheme, opened in PICTURES:
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            page.goto(address)
            draw(page, files, opened=opened)
            picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            picture.quantize(256).save(output / name, optimize=True)
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
