"""The report in a real browser: it loads alone, sounds, sorts, filters and fits a phone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .browsers import CHROMIUM, DRIVER

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="needs chromium and chromedriver"),
]


def column(page: Any, table: str, number: int) -> list[str]:
    """Visible cells of a column, 1 is the first."""
    rows = f"{table} tbody tr:not([hidden]) td:nth-child({number})"
    script = "return [...document.querySelectorAll(arguments[0])].map(cell => cell.textContent.trim())"
    return page.execute_script(script, rows)


@pytest.mark.parametrize("kind", ["run", "predictions", "slices", "gallery"])
def test_page_makes_no_request_and_no_console_message(
    show: Callable[..., Any], request: pytest.FixtureRequest, kind: str
) -> None:
    page = show(request.getfixturevalue(f"shown_{kind}"))
    assert page.find_elements("css selector", "th button")  # the script ran
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    outside = [url for url in asked if not url.startswith("data:")]
    assert [url.rsplit("/", 1)[-1] for url in outside] == ["report.html"]
    assert outside[0].startswith("file:")
    assert page.get_log("browser") == []


def test_class_name_that_is_a_script_does_not_run(show: Callable[..., Any], shown_run: Path) -> None:
    from selenium.common.exceptions import NoAlertPresentException

    page = show(shown_run)
    with pytest.raises(NoAlertPresentException):
        page.switch_to.alert.accept()
    assert "<script>alert('x')</script>" in column(page, "#answers", 1)


def test_player_plays_and_starting_another_one_stops_it(show: Callable[..., Any], shown_run: Path) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    page = show(shown_run)
    players = page.find_elements("css selector", "audio")
    assert len(players) == 24
    start = "arguments[0].muted = true; return arguments[0].play().then(() => true)"
    assert page.execute_script(start, players[0])
    WebDriverWait(page, 10, 0.05).until(
        lambda _: page.execute_script("return arguments[0].currentTime", players[0]) > 0.2
    )
    assert page.execute_script("return arguments[0].duration", players[0]) == pytest.approx(1.0, abs=0.01)
    assert page.execute_script(start, players[1])
    assert page.execute_script("return arguments[0].paused", players[0])


def test_pictures_are_decoded(show: Callable[..., Any], shown_run: Path) -> None:
    page = show(shown_run)
    sizes = page.execute_script("return [...document.images].map(i => [i.naturalWidth, i.naturalHeight])")
    assert sizes == [[320, 120]] * 24


def test_click_on_a_heading_sorts_by_number_and_again_the_other_way(
    show: Callable[..., Any], shown_run: Path
) -> None:
    page = show(shown_run)
    headings = page.find_elements("css selector", "#cases th")
    names = [heading.text for heading in headings]
    place = names.index("probability of predicted") + 1
    before = column(page, "#cases", place)
    button = headings[place - 1].find_element("css selector", "button")
    button.click()
    assert column(page, "#cases", place) == sorted(before, key=float)
    assert headings[place - 1].get_attribute("aria-sort") == "ascending"
    button.click()
    assert column(page, "#cases", place) == sorted(before, key=float, reverse=True)
    assert [h.get_attribute("aria-sort") for h in headings].count("none") == len(headings) - 2


def test_heading_sorts_from_the_keyboard_and_media_move_with_their_row(
    show: Callable[..., Any], shown_run: Path
) -> None:
    page = show(shown_run)
    page.find_element("css selector", "#cases th button").send_keys("\n")
    ids = column(page, "#cases", 1)
    assert ids == sorted(ids)
    rows = "[...document.querySelectorAll('#cases tr.with-media')]"
    pairs = f"return {rows}.map(row => [row.cells[0].textContent, row.querySelector('audio').ariaLabel])"
    found = page.execute_script(pairs)
    assert len(found) == 24
    assert all(label == f"Sound of {name}" for name, label in found)


def test_filter_leaves_the_rows_that_contain_its_text(show: Callable[..., Any], shown_run: Path) -> None:
    page = show(shown_run)
    box = page.find_element("css selector", "#cases input")
    box.send_keys("CASE_01")
    assert sorted(column(page, "#cases", 1)) == [f"case_01{i}" for i in range(10)]
    assert page.find_element("css selector", "#cases output").text == "10 of 60 rows"
    box.clear()
    box.send_keys(" ")
    assert len(column(page, "#cases", 1)) == 60


@pytest.mark.parametrize("width", [420, 1280])
@pytest.mark.parametrize("kind", ["run", "predictions", "slices", "gallery"])
def test_page_fits_its_window_without_sideways_scrolling(
    show: Callable[..., Any], request: pytest.FixtureRequest, kind: str, width: int
) -> None:
    page = show(request.getfixturevalue(f"shown_{kind}"), width)
    root = "document.documentElement"
    assert page.execute_script(f"return {root}.scrollWidth <= {root}.clientWidth && innerWidth === {width}")


@pytest.mark.parametrize("width", [420, 1280])
def test_players_are_wide_enough_to_use(show: Callable[..., Any], shown_run: Path, width: int) -> None:
    page = show(shown_run, width)
    script = (
        "return [...document.querySelectorAll('audio')].map(player => player.getBoundingClientRect().width)"
    )
    assert min(page.execute_script(script)) >= 250


def in_view(page: Any) -> int:
    """The slice of the first viewer that lies in its frame, from what the browser laid out."""
    column, row, sizes = page.execute_script("""
        const frame = document.querySelector(".frame").getBoundingClientRect();
        const images = [...document.querySelector(".frame").querySelectorAll("img")];
        const found = images.map(image => image.getBoundingClientRect());
        const place = found[0];
        return [(frame.left - place.left) / frame.width, (frame.top - place.top) / frame.height,
                found.map(box => [box.left, box.top, box.width / frame.width, box.height / frame.height])];
    """)
    scan, mask = sizes
    assert scan == mask  # the mask lies exactly on its scan
    assert scan[2:] == pytest.approx([4, 3], abs=0.01)
    assert (column, row) == pytest.approx((round(column), round(row)), abs=0.01)
    return round(row) * 4 + round(column)


def test_slider_keys_and_wheel_leaf_through_the_slices(show: Callable[..., Any], shown_slices: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
    from selenium.webdriver.common.keys import Keys

    page = show(shown_slices)
    frame = page.find_element("css selector", ".frame")
    slider, place = (page.find_element("css selector", f".controls {name}") for name in ("input", "output"))
    assert (in_view(page), place.text) == (5, "slice 6 of 10")
    slider.send_keys(Keys.ARROW_RIGHT)
    assert (in_view(page), place.text) == (6, "slice 7 of 10")
    assert slider.get_attribute("aria-valuetext") == "slice 7 of 10"
    slider.send_keys(Keys.HOME)
    assert in_view(page) == 0
    frame.click()
    for key, expected in (
        (Keys.ARROW_UP, 1),
        (Keys.ARROW_LEFT, 0),
        (Keys.ARROW_DOWN, 0),
        (Keys.PAGE_UP, 5),
        (Keys.END, 9),
        (Keys.ARROW_RIGHT, 9),
    ):
        frame.send_keys(key)
        assert in_view(page) == expected
    assert slider.get_attribute("value") == "9"
    origin = ScrollOrigin.from_element(frame)
    top = page.execute_script("return scrollY")
    ActionChains(page).scroll_from_origin(origin, 0, 120).perform()
    assert in_view(page) == 8
    assert page.execute_script("return scrollY") == top
    page.execute_script("document.activeElement.blur()")
    ActionChains(page).scroll_from_origin(origin, 0, 120).perform()
    assert in_view(page) == 8  # a page that is scrolled past a picture leaves it alone
    assert page.get_log("browser") == []


def test_mask_is_switched_off_and_its_opacity_set(show: Callable[..., Any], shown_slices: Path) -> None:
    page = show(shown_slices)
    mask = page.find_element("css selector", ".frame .mask")
    _, box, opacity = page.find_elements("css selector", ".stack .controls input")[:3]
    assert mask.is_displayed()
    assert float(mask.value_of_css_property("opacity")) == 0.5
    opacity.send_keys("\ue010")  # End: fully opaque
    assert float(mask.value_of_css_property("opacity")) == 1.0
    box.click()
    assert not mask.is_displayed()
    assert not opacity.is_enabled()
    box.click()
    assert mask.is_displayed()
    others = page.find_elements("css selector", ".frame .mask")[1:]
    assert len(others) == 5
    assert all(float(other.value_of_css_property("opacity")) == 0.5 for other in others)
