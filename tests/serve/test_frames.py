"""Which pages of other sites may show the page in a frame."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.server import running

from skinclf.errors import InvalidArgumentError
from skinclf.serve.settings import ServeSettings


def test_no_page_of_another_site_shows_it_in_a_frame(tiny_bundle: Path) -> None:
    with running(tiny_bundle, processes=False) as server:
        found = server.get("/").headers
    assert "frame-ancestors 'none';" in found["content-security-policy"]
    assert found["x-frame-options"] == "DENY"


def test_a_named_site_may_and_no_other(tiny_bundle: Path) -> None:
    with running(
        tiny_bundle, processes=False, allow_frame=("https://example.org", "http://b.test:81")
    ) as server:
        found = server.get("/").headers
    assert "frame-ancestors https://example.org http://b.test:81;" in found["content-security-policy"]
    # The older header would forbid what the policy allows.
    assert "x-frame-options" not in found


@pytest.mark.parametrize(
    "origin", ["example.org", "https://a.org/path", "*", "https://a.org; script-src *", ""]
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(InvalidArgumentError, match="`allow_frame` is an origin"):
        ServeSettings(allow_frame=(origin,))
