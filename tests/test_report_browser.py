"""report.html in a real browser: no errors, nothing loaded, the slider moves; without scripts and on paper too."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganforge.engine.run import Run
from ganforge.report import write_report
from test_diagnose_rules import log

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run's files, with pictures that differ."""
    run = tmp_path_factory.mktemp("browser") / "a run <b>"
    (run / "samples").mkdir(parents=True)
    facts = {"data": {"path": "digits", "count": 1797}, "world": {}, "versions": {}}
    (run / "run.json").write_text(json.dumps({"format": 1, **facts}))
    (run / "config.yaml").write_text("recipe: dcgan\nparams: {lr: 0.0002}\n")
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log()))
    for i in range(5):
        levels = np.random.default_rng(i).integers(0, 256, (300, 600), dtype=np.uint8)
        Image.fromarray(levels).save(run / "samples" / f"{i * 1000:010d}.png")
    return write_report(Run(run))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    if not CHROMIUM:
        pytest.skip("no Chromium here (set CHROMIUM to its path)")
    driver = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'ganforge[dev]'")
    with driver.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def open_page(browser: Any, path: Path, **options: Any) -> tuple[Any, list[str]]:
    """The page, and a list that gets every error that the browser reports, and every address that it asks for."""
    page = browser.new_context(**options).new_page()
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith("data:") else told.append(request.url))
    page.goto(path.as_uri())
    return page, told


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_slider_changes_the_picture(browser: Any, page_file: Path, scheme: str, width: int) -> None:
    page, told = open_page(browser, page_file, color_scheme=scheme, viewport={"width": width, "height": 800})
    assert told == [page_file.as_uri()]  # the page itself, no error, nothing else
    count = len(list((page_file.parent / "samples").glob("*.png")))
    shown = page.locator(".frames figure:visible")
    assert count >= 3 and shown.count() == 1
    said, seen = page.locator("output").inner_text(), shown.locator("img").get_attribute("src")
    before = page.locator(".timeline").screenshot()
    page.locator("input[type=range]").focus()
    page.keyboard.press("Home")
    assert page.locator("output").inner_text() == "after 0 real samples" != said
    assert shown.count() == 1 and shown.locator("img").get_attribute("src") != seen
    assert page.locator(".timeline").screenshot() != before
    page.keyboard.press("ArrowRight")
    assert page.locator("input[type=range]").input_value() == "1"
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing sticks out
    colors = page.evaluate(
        "[getComputedStyle(document.documentElement).backgroundColor, getComputedStyle(document.body).color]"
    )
    ground, ink = (sum(map(int, color[4:-1].split(","))) for color in colors)
    assert (ground > 600 and ink < 200) if scheme == "light" else (ground < 100 and ink > 600)
    axis = page.locator("svg text").first.evaluate("text => getComputedStyle(text).fill")
    assert axis == colors[1]  # curves are drawn in the page's own ink
    assert all(
        page.evaluate("[...document.images].map(i => i.closest('figure').offsetParent === null || i.naturalWidth > 0)")
    )


def test_commands_can_be_copied(browser: Any, page_file: Path) -> None:
    page, _ = open_page(browser, page_file, permissions=["clipboard-read", "clipboard-write"])
    box = page.locator(".command", has_text="ganforge train --config")
    box.get_by_role("button").click()
    box.get_by_text("Copied", exact=True).wait_for(timeout=5000)
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"ganforge train --config '{page_file.parent}/config.yaml'"


def test_without_scripts_and_on_paper(browser: Any, page_file: Path) -> None:
    page, _ = open_page(browser, page_file, java_script_enabled=False)
    count = page.locator(".frames figure").count()
    assert page.locator(".frames img:visible").count() == count >= 3 and page.locator("input:visible").count() == 0
    assert page.locator("svg:visible").count() >= 4 and "Verdict" in page.locator("body").inner_text()
    page, _ = open_page(browser, page_file)
    page.emulate_media(media="print")
    assert page.locator(".frames img:visible").count() == count
    assert page.locator("button:visible").count() == page.locator("input:visible").count() == 0
    assert len(page.pdf()) > 10_000
