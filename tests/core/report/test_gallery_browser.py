"""The gallery in a real browser: it sorts, filters, and opens a larger view for mouse and keyboard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .browsers import CHROMIUM, DRIVER
from .conftest import CLASSES
from .test_gallery import table_rows

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="needs chromium and chromedriver"),
]
SCRIPT = CLASSES[1]


@pytest.fixture
def page(show: Callable[..., Any], shown_gallery: Path) -> Any:
    return show(shown_gallery)


@pytest.fixture
def rows(shown_gallery: Path) -> list[dict[str, str]]:
    return table_rows(shown_gallery)


def visible(page: Any) -> list[str]:
    """Ids of the tiles that are shown, in order."""
    script = (
        "return [...document.querySelectorAll('.tile')].filter(t => t.offsetParent).map(t => t.dataset.id)"
    )
    return page.execute_script(script)


def choose(page: Any, place: int, text: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(page.find_elements("css selector", ".gallery select")[place]).select_by_visible_text(text)


def opened(page: Any) -> tuple[str, str]:
    """Heading and place of the larger view, empty when it is closed."""
    script = """
        const dialog = document.querySelector("dialog");
        if (!dialog.open) return ["", ""];
        return ["h3", "output"].map((name) => dialog.querySelector(name).textContent);
    """
    heading, place = page.execute_script(script)
    return heading, place


def press(page: Any, key: str) -> None:
    page.switch_to.active_element.send_keys(key)


def test_drop_down_sorts_the_pictures(page: Any, rows: list[dict[str, str]]) -> None:
    by_score = [row["case_id"] for row in sorted(rows, key=lambda row: -float(row[f"p_{CLASSES[-1]}"]))]
    assert visible(page) == by_score
    choose(page, 0, "name")
    assert visible(page) == sorted(by_score)
    choose(page, 0, "disagreement with the label")
    known = [row for row in rows if row["target"]]
    worst = sorted(known, key=lambda row: float(row[f"p_{row['target']}"]))
    unknown = sorted(row["case_id"] for row in rows if not row["target"])
    assert visible(page) == [row["case_id"] for row in worst] + unknown


def test_text_answer_and_label_choose_pictures_together(page: Any, rows: list[dict[str, str]]) -> None:
    choose(page, 1, SCRIPT)
    answered = {row["case_id"] for row in rows if row["answer"] == SCRIPT}
    assert set(visible(page)) == answered
    choose(page, 2, "chirp")
    wrong = answered & {row["case_id"] for row in rows if row["target"] == "chirp"}
    assert set(visible(page)) == wrong
    assert page.find_element("css selector", ".gallery output").text == f"{len(wrong)} of 30 pictures"
    choose(page, 1, "all")
    choose(page, 2, "all")
    page.find_element("css selector", ".gallery input").send_keys("SILENT")  # among the facts
    assert visible(page) == ["case_004"]


def test_enter_opens_arrows_go_on_and_escape_returns_to_the_picture(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    ids = visible(page)
    page.find_elements("css selector", ".tile .open")[0].send_keys(Keys.ENTER)
    assert opened(page) == (ids[0], "1 of 30")
    for key, place in ((Keys.ARROW_RIGHT, 1), (Keys.ARROW_RIGHT, 2), (Keys.ARROW_LEFT, 1)):
        press(page, key)
        assert opened(page) == (ids[place], f"{place + 1} of 30")
    press(page, Keys.ESCAPE)
    assert opened(page) == ("", "")
    script = "return document.activeElement.closest('.tile').dataset.id"
    assert page.execute_script(script) == ids[1]
    assert page.get_log("browser") == []


def test_arrows_go_through_what_the_filter_left_and_around(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    page.find_element("css selector", ".gallery input").send_keys("case_01")
    left = visible(page)
    assert sorted(left) == [f"case_01{i}" for i in range(10)]
    page.find_elements("css selector", ".tile:not([hidden]) .open")[0].click()
    press(page, Keys.ARROW_LEFT)
    assert opened(page) == (left[-1], "10 of 10")
    press(page, Keys.ARROW_RIGHT)
    assert opened(page) == (left[0], "1 of 10")


def test_the_larger_view_tells_facts_and_its_heat_map_is_switched_off(page: Any) -> None:
    choose(page, 0, "name")
    page.find_elements("css selector", ".tile .open")[4].click()
    text = page.find_element("css selector", "dialog").text
    for part in ("case_004", "<b onclick='x'>7.5 deg</b>", "what <u>speaks</u>", "score of chirp", "silent"):
        assert part in text
    heat = page.find_element("css selector", "dialog .heat")
    sight = page.find_element("css selector", "dialog .sight")
    assert heat.rect == sight.rect  # the map lies exactly on its picture
    box, opacity = page.find_elements("css selector", "dialog .controls input")
    assert float(heat.value_of_css_property("opacity")) == 0.7
    opacity.send_keys("\ue010")  # End
    assert float(heat.value_of_css_property("opacity")) == 1.0
    opacity.send_keys("\ue012")  # the arrow moves the slider, not the view
    assert opened(page)[0] == "case_004"
    box.click()
    assert not heat.is_displayed()
    assert not opacity.is_enabled()
    page.find_element("xpath", "//dialog//button[text()='Next']").click()
    assert opened(page)[0] == "case_005"  # without a heat map
    assert not page.find_element("css selector", "dialog .controls").is_displayed()
    page.find_element("xpath", "//dialog//button[text()='Next']").click()
    assert not page.find_element("css selector", "dialog .heat").is_displayed()  # it stays switched off
    page.find_element("xpath", "//dialog//button[text()='Close']").click()
    assert opened(page) == ("", "")


@pytest.mark.parametrize("width", [400, 1280])
def test_the_larger_view_fits_its_window(show: Callable[..., Any], shown_gallery: Path, width: int) -> None:
    page = show(shown_gallery, width)
    page.find_elements("css selector", ".tile .open")[0].click()
    script = """
        const dialog = document.querySelector("dialog"), box = dialog.getBoundingClientRect();
        const fits = (part) => part.scrollWidth <= part.clientWidth;
        return [box.left >= 0 && box.right <= innerWidth && box.bottom <= innerHeight,
                fits(dialog), fits(document.documentElement)];
    """
    assert page.execute_script(script) == [True, True, True]


def test_pictures_have_names_for_a_screen_reader(page: Any, rows: list[dict[str, str]]) -> None:
    tiles = page.find_elements("css selector", ".tile .open")
    row = next(row for row in rows if row["case_id"] == visible(page)[0])
    assert row["case_id"] in tiles[0].accessible_name
    assert {tile.aria_role for tile in tiles} == {"button"}
    assert page.find_element("css selector", ".tiles").accessible_name == "Cases as pictures"
    assert page.find_element("css selector", ".gallery select").accessible_name.startswith("Sort by")
    tiles[0].click()
    assert page.find_element("css selector", "dialog").accessible_name == "Larger view"
