"""The report works in a real browser: its viewer cuts, windows and labels every image."""

import shutil

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from cyclegan.evaluate.evaluate import evaluate
from cyclegan.evaluate.report.figures import body_box
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
def evaluated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    store = make_store(
        folder / "s.zarr", mri=2, ct=2, paired=2, shape=(9, 32, 32), splits=("train", "test")
    )
    identity = CycleNetworks(to_ct=same, to_mri=same, contrast="plain")
    return evaluate(identity, store, "test", options=ScoringOptions(num_shown=2))


@pytest.fixture(scope="module")
def mri(evaluated):
    """The first MRI, cropped as it is shown."""
    first = evaluated.shown[0]
    return first.cycle.original[body_box(first)]


@pytest.fixture(scope="module")
def report(evaluated, tmp_path_factory):
    page = tmp_path_factory.mktemp("page") / "report.html"
    page.write_text(html_report(evaluated, title="a run", facts={}, records=[]))
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


@pytest.fixture
def viewer(browser):
    """The first of both, drawn, with its first plane and window."""
    element = browser.find_element(By.CLASS_NAME, "viewer")
    WebDriverWait(browser, 20).until(
        lambda driver: driver.execute_script("return Boolean(arguments[0].viewer.codes)", element)
    )
    tiles_of(element).send_keys("a1")
    return element


def tiles_of(viewer):
    return viewer.find_element(By.CLASS_NAME, "tiles")


def text_of(viewer):
    return viewer.find_element(By.TAG_NAME, "output").text


def images_of(viewer):
    """The pixels of each image as the browser drew them."""
    return [
        viewer.parent.execute_script("return arguments[0].toDataURL()", canvas)
        for canvas in viewer.find_elements(By.TAG_NAME, "canvas")
    ]


def changed(before, viewer):
    return [old != new for old, new in zip(before, images_of(viewer), strict=True)]


def test_moving_the_slider_changes_every_picture_of_its_volume_alone(browser, viewer):
    second = browser.find_elements(By.CLASS_NAME, "viewer")[1]
    before, others, text = images_of(viewer), images_of(second), text_of(viewer)
    assert len(before) == 4

    viewer.find_element(By.CSS_SELECTOR, "input[type=range]").send_keys(*[Keys.ARROW_RIGHT] * 2)

    assert text_of(viewer) != text
    assert changed(before, viewer) == [True] * 4
    assert images_of(second) == others


@pytest.mark.parametrize(
    ("plane", "axis", "sides"),
    [("axial", 0, "RLAP"), ("coronal", 1, "RLSI"), ("sagittal", 2, "APSI")],
)
def test_each_plane_has_its_slices_and_sides(viewer, mri, plane, axis, sides):
    key, slices = plane[0], mri.shape[axis]
    tiles_of(viewer).send_keys(key)
    tiles_of(viewer).send_keys(Keys.HOME)
    assert text_of(viewer).startswith(f"{plane}, slice 1 of {slices}")
    tiles_of(viewer).send_keys(Keys.END)
    assert text_of(viewer).startswith(f"{plane}, slice {slices} of {slices}")

    assert [each.text for each in viewer.find_elements(By.CLASS_NAME, "side")] == [*sides] * 4
    pressed = viewer.find_elements(By.CSS_SELECTOR, "[data-plane][aria-pressed=true]")
    assert [button.text for button in pressed] == [plane]


def test_the_pixels_of_a_plane_are_those_of_the_volume(browser, viewer, mri):
    tiles_of(viewer).send_keys("c")
    tiles_of(viewer).send_keys(Keys.HOME, *[Keys.ARROW_UP] * 20)

    drawn = browser.execute_script(
        "const canvas = arguments[0];"
        "const {width, height} = canvas;"
        "const all = canvas.getContext('2d').getImageData(0, 0, width, height).data;"
        "return [height, width, ...all.filter((_, at) => at % 4 === 0)]",
        viewer.find_element(By.TAG_NAME, "canvas"),
    )

    height, width, *values = drawn
    expected = (mri[::-1, 20] + 1) / 2 * 255
    assert (height, width) == expected.shape
    np.testing.assert_allclose(values, expected.ravel(), rtol=0, atol=1.5)


def test_a_window_changes_the_cts_alone(viewer):
    before = images_of(viewer)

    tiles_of(viewer).send_keys("2")

    assert changed(before, viewer) == [False, True, True, False]
    level, width = (
        viewer.find_element(By.CSS_SELECTOR, f"[data-control={name}]").get_attribute("value")
        for name in ("level", "width")
    )
    assert (float(level), float(width)) == (300, 1500)


def test_every_image_says_what_it_shows(viewer):
    tiles_of(viewer).send_keys(Keys.HOME)

    labels = [
        canvas.get_attribute("aria-label") for canvas in viewer.find_elements(By.TAG_NAME, "canvas")
    ]
    assert [label.partition(" of ")[0] for label in labels] == [
        "MRI",
        "synthetic CT",
        "real CT",
        "synthetic - real",
    ]
    assert labels[1].endswith("axial, slice 1 of 9, height 0.00, level 40, width 400 HU")


def test_links_lead_to_all_parts_and_shown_volumes(browser):
    targets = browser.execute_script(
        "return [...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.hash.slice(1))"
    )
    names = [heading.text for heading in browser.find_elements(By.CSS_SELECTOR, "h3[id]")]

    assert {"images", "paired", "unpaired", "curves", "volumes", "definitions", *names} == {
        *targets
    }
    for target in {*targets}:
        assert browser.execute_script("return document.getElementById(arguments[0])", target)


def test_the_console_is_silent_and_nothing_is_fetched(browser):
    assert browser.get_log("browser") == []
    fetched = browser.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert [name for name in fetched if not name.startswith("data:")] == []
