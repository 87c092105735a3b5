"""What every test shares: shape checks at import, quiet threads, and the folder of real volumes."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# These machines are shared: a slow example is no failure.
hypothesis.settings.register_profile("shared", deadline=None)
hypothesis.settings.load_profile("shared")

ROOT = Path(__file__).resolve().parent.parent

# pytorch issue 122093: the checks break compiled graphs, so the compile tests run without them.
if not os.environ.get("CYCLEGAN_NO_SHAPE_CHECKS"):
    from jaxtyping import install_import_hook

    import tests.support.shape_checks  # noqa: F401  the hook looks it up by name

    install_import_hook("cyclegan", "tests.support.shape_checks.check")  # shapes stand here alone

from mrct.storage.local_path import LocalPath  # noqa: E402  after the hook


@pytest.fixture(scope="session")
def tmp_path_factory(tmp_path_factory: pytest.TempPathFactory) -> pytest.TempPathFactory:
    """pytest's own, with folders of the type that stores and runs want; so is `tmp_path`."""
    make = tmp_path_factory.mktemp
    tmp_path_factory.mktemp = lambda *names, **options: LocalPath(make(*names, **options))
    return tmp_path_factory


@pytest.fixture(scope="session", autouse=True)
def syncs_at_once() -> Iterator[None]:
    """What a sync is for, no test does: it loses power. Tests of syncs replace it themselves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def signals_of_a_shell() -> None:
    """Tests may run in the background or under nohup, where children would ignore these."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real MR and CT volumes, too large and too precious to copy into the project."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the real volumes of {folder}, which are not on this machine")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most real Rays first, then those with the most slow tests: else one of two
    processes waits for the other's last."""
    rays, slow = (
        Counter(item.path for item in items if item.get_closest_marker(marker))
        for marker in ("ray", "slow")
    )
    items.sort(key=lambda item: (-rays[item.path], -slow[item.path]))
