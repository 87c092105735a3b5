"""The report works in a real browser: the slider moves, and with it every picture."""

import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from cyclegan.evaluate.evaluate import evaluate
from cyclegan.evaluate.report.report import html_report
from cyclegan.evaluate.score_volume import ScoringOptions
from cyclegan.inference.cycle import CycleNetworks
from tests.support.stores import make_store

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --window-size=1300,1600"
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="no chromium and chromedriver (Debian packages) here"
    ),
]


def same(images):
    return images


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    store = make_store(
        folder / "s.zarr", mri=2, ct=2, paired=2, shape=(9, 32, 32), splits=("train", "test")
    )
    identity = CycleNetworks(to_ct=same, to_mri=same, contrast="plain")
    scores = evaluate(identity, store, "test", options=ScoringOptions(num_shown=2))
    page = folder / "report.html"
    page.write_text(html_report(scores, title="a run", facts={}, records=[]))
    return page


@pytest.fixture(scope="module")
def browser(report, tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.get(report.as_uri())
    yield driver
    driver.quit()


def controls(viewer):
    return viewer.find_element(By.TAG_NAME, "input"), viewer.find_element(By.TAG_NAME, "output")


def test_moving_the_slider_changes_every_picture_of_its_volume_alone(browser):
    first, second = browser.find_elements(By.CLASS_NAME, "viewer")
    slider, label = (
        first.find_element(By.TAG_NAME, "input"),
        first.find_element(By.TAG_NAME, "output"),
    )
    slices = first.find_elements(By.CLASS_NAME, "slice")
    assert len(slices) == 6
    before = [slice_.screenshot_as_png for slice_ in slices]
    others = [slice_.screenshot_as_png for slice_ in second.find_elements(By.CLASS_NAME, "slice")]
    text = label.text

    slider.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)

    assert label.text != text
    assert all(a != b.screenshot_as_png for a, b in zip(before, slices, strict=True))
    assert others == [
        slice_.screenshot_as_png for slice_ in second.find_elements(By.CLASS_NAME, "slice")
    ]


def test_both_ends_can_be_reached(browser):
    viewer = browser.find_element(By.CLASS_NAME, "viewer")
    slider, label = (
        viewer.find_element(By.TAG_NAME, "input"),
        viewer.find_element(By.TAG_NAME, "output"),
    )
    most = int(slider.get_attribute("max"))
    slider.send_keys(Keys.END)
    assert label.text.startswith(f"{most + 1} of {most + 1}")
    slider.send_keys(Keys.HOME)
    assert label.text.startswith(f"1 of {most + 1}")


def test_the_console_is_silent_and_nothing_is_fetched(browser):
    assert browser.get_log("browser") == []
    fetched = browser.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert [name for name in fetched if not name.startswith("data:")] == []
