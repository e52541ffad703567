"""A whole study in a real browser, by keyboard and by mouse."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from command import finish
from study_page import begin, make_data

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright (extra 'dev') is not installed")
pytest.importorskip("starlette", reason="the extra 'study' is not installed")
pytest.importorskip("uvicorn", reason="the extra 'study' is not installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = os.environ.get("GANFORGE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium here (set GANFORGE_CHROMIUM)")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield running
        running.close()


def errors_of(page: Any) -> list[str]:
    """What goes wrong in the page, as it happens."""
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
    return found


def ready(page: Any) -> None:
    """Wait until a choice can be made."""
    page.wait_for_selector("#left:enabled")


def test_ten_answers_by_keyboard(browser: Any, tmp_path: Path) -> None:
    """Practice with feedback, ten pairs and a catch trial; a reload in between loses nothing; the program ends."""
    real, made, _ = make_data(tmp_path)
    process, address = begin(
        made, "--against", real, "--pairs", "10", "--seconds", "0.2", "--who", "ann", "--out", tmp_path
    )
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    errors = errors_of(page)
    page.goto(address)
    assert "0.2 seconds" in page.inner_text("#timing") and not page.is_visible("#who")
    page.keyboard.press("Enter")
    for number in range(1, 5):
        ready(page)
        assert page.inner_text("#phase") == "Practice" and page.inner_text("#count") == f"{number} / 4"
        page.keyboard.press("ArrowLeft")
        page.wait_for_selector("#next:visible")
        side = "left" if "left" in page.inner_text("#feedback") else "right"
        assert page.get_attribute(f"#{side}", "class") == "side real"
        page.keyboard.press("Space")
    for number in range(1, 12):
        ready(page)
        assert page.inner_text("#phase") == "Study" and page.inner_text("#count") == f"{number} / 11"
        if number == 4:
            page.reload()
            page.click("#go")
            ready(page)
            assert page.inner_text("#count") == "4 / 11"
            page.wait_for_function("!document.getElementById('pair').classList.contains('shown')")
            assert page.locator("#left img").evaluate("e => getComputedStyle(e).visibility") == "hidden"
        page.keyboard.press("ArrowRight" if number % 2 else "f")
    page.wait_for_selector("#done:visible")
    assert "of 10 pairs" in page.inner_text("#result") and errors == []
    page.close()
    said = finish(process, 20)
    lines = [json.loads(line) for line in (tmp_path / "study.jsonl").read_text().splitlines()][1:]
    assert [line["number"] for line in lines] == list(range(15))
    assert [line["trial"] for line in lines].count("pair") == 10
    assert [line["choice"] for line in lines[4:]] == ["right" if n % 2 else "left" for n in range(1, 12)]
    assert all(0 < line["ms"] < 20_000 for line in lines)
    assert [line["views"] for line in lines] == [2 if n == 7 else 1 for n in range(15)]
    assert said.code == 0 and "study of" in said.out


def test_mouse_on_a_narrow_screen_and_a_server_that_is_gone(browser: Any, tmp_path: Path) -> None:
    """Both images fit beside each other without scrolling; a lost connection is said plainly."""
    real, made, _ = make_data(tmp_path)
    process, address = begin(made, "--against", real, "--pairs", "10", "--seconds", "none", "--out", tmp_path)
    page = browser.new_page(viewport={"width": 375, "height": 667})
    errors = errors_of(page)
    page.goto(address)
    page.fill("#who", "bea")
    page.click("#go")
    ready(page)
    boxes = [page.locator(f"#{side} .frame").bounding_box() for side in ("left", "right")]
    assert boxes[0]["x"] >= 0 and boxes[1]["x"] + boxes[1]["width"] <= 375 and boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["width"] == boxes[1]["width"] > 140
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
    names = [page.get_attribute(f"#{side} img", "src") for side in ("left", "right")]
    assert len({len(name) for name in names}) == 1
    page.click("#left")
    page.wait_for_selector("#next:visible")
    page.click("#next")
    ready(page)
    assert errors == []
    process.kill()
    process.communicate()
    page.click("#right")
    page.wait_for_selector("#error:visible")
    assert "start it again" in page.inner_text("#error")
    lines = (tmp_path / "study.jsonl").read_text().splitlines()
    assert len(lines) == 2 and json.loads(lines[1])["choice"] == "left"
    page.close()
