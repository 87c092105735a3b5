"""Makes the pictures of TensorBoard in docs/pictures, of two short runs on phantoms, in Chromium.

python -m tests.tensorboard_pictures      replaces them (three minutes on two cores)
"""

import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from selenium import webdriver

from cyclegan.config.config import Config
from cyclegan.config.files import resolve, to_yaml, with_settings
from cyclegan.config.presets import demo
from cyclegan.train.distributed import Worker
from cyclegan.train.loop import train_worker
from data_prep.phantom.cohort import make_cohort
from data_prep.phantom.settings import CohortSettings
from mrct.storage.local_path import LocalPath
from tests.support.conversions import run as convert
from tests.support.ports import free_ports

PICTURES = Path(__file__).resolve().parents[1] / "docs/pictures"
STEPS = 40
RUNS: dict[str, dict[str, float]] = {"weights-usual": {}, "cycle-5": {"loss.cycle.weight": 5.0}}
"""Settings of each run beside those of the preset."""
TABS = {"scalars": ("timeseries", 900), "images": ("images", 1250), "hparams": ("hparams", 430)}
"""The tab of each picture, and the height of its window."""
FLAGS = "--headless --no-sandbox --disable-gpu --hide-scrollbars --force-device-scale-factor=1"
RENDERED_S = 20.0


def train_runs(folder: LocalPath) -> Path:
    """Train the runs, and return the folder that holds them."""
    people = CohortSettings(
        num_train_mri=2,
        num_train_ct=2,
        num_val=1,
        num_test=0,
        in_plane_mm=2.4,
        slice_mm=4,
        anatomy_mm=2.5,
    )
    manifest = make_cohort(folder / "cohort", settings=people, seed=1)
    convert(manifest=manifest, out=folder / "s.zarr", spacing_mm=(4.0, 2.4, 2.4), size=(104, 96))
    for name, values in RUNS.items():
        config = run_config(folder, name, values)
        config.run_folder.make_folder()
        (config.run_folder / "config.yaml").put(to_yaml(config).encode())
        train_worker(config, Worker())
    return folder / "runs"


def run_config(folder: Path, name: str, values: dict[str, float]) -> Config:
    """Return the configuration of a run."""
    base = demo()
    schedule = replace(
        base.schedule, log_every="4 steps", validate_every="10 steps", save_every="never"
    )
    config = replace(
        base,
        run=replace(base.run, name=name, storage=str(folder / "runs")),
        data=replace(base.data, store=str(folder / "s.zarr")),
        generator=replace(base.generator, guide="none"),  # no command fits a table here
        train=replace(base.train, max_steps=STEPS, compile="no"),
        schedule=schedule,
    )
    return resolve(with_settings(config, values))


@contextmanager
def served(runs: Path) -> Iterator[str]:
    """The address of TensorBoard, started as the docs say."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(runs), "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            ends = time.monotonic() + 60
            while time.monotonic() < ends:
                try:
                    urllib.request.urlopen(f"{address}/data/runs").close()
                    break
                except OSError:
                    time.sleep(0.5)
            time.sleep(5)  # it reads the runs in the background
            yield address
        finally:
            server.terminate()


def take_pictures(address: str) -> None:
    """Save a picture of each tab."""
    options = webdriver.ChromeOptions()
    for flag in FLAGS.split():
        options.add_argument(flag)
    driver_path = shutil.which("chromedriver")
    with webdriver.Chrome(options, webdriver.ChromeService(driver_path)) as browser:
        for name, (tab, height) in TABS.items():
            browser.set_window_size(1300, height)
            browser.get(f"{address}/#{tab}")
            browser.refresh()
            time.sleep(RENDERED_S)
            (PICTURES / f"tensorboard_{name}.png").write_bytes(browser.get_screenshot_as_png())


def main() -> None:
    """Train, serve, and take the pictures."""
    with tempfile.TemporaryDirectory() as folder, served(train_runs(LocalPath(folder))) as address:
        take_pictures(address)


if __name__ == "__main__":
    main()
