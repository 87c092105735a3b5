"""Weights & Biases and MLflow: one callback each, which sends a run's settings and numbers.

Both are off by default. No picture, path or host name is sent: pictures show patients.
Sending happens in a thread of its own; if the service fails, the run continues without it.
"""

import base64
import json
import os
import queue
import secrets
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from http import HTTPStatus
from importlib.util import find_spec
from typing import Any, Protocol, runtime_checkable

from cyclegan.config.config import Config
from cyclegan.config.files import computation_settings
from cyclegan.errors import ConfigError

TRACKED_AS = "cyclegan"
"""Project at Weights & Biases unless WANDB_PROJECT, experiment of MLflow unless
MLFLOW_EXPERIMENT_NAME says otherwise."""
_LAST_WAIT_S = 60.0
"""Most seconds that the end of a run waits for what is not sent yet."""
_PART_OF_GRACE = 1 / 3
"""Part of `scale.grace_s` that it waits: a stopped run saves in the rest."""
_ID_FILE = ".tracker"
"""File in a run's folder with the name that the services know the run by."""
_MOST_PARAMS = 100
"""MLflow's limit of parameters in one request."""
_MLFLOW_ANSWER_S = 30.0
"""Seconds to wait for an answer of the server."""


@runtime_checkable
class Tracker(Protocol):
    """What a service gets of a run."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Send the metrics of a step."""

    def close(self) -> None:
        """Tell the service that the run has ended or was stopped."""


class WandbTracker:
    """A run at Weights & Biases; WANDB_MODE=offline keeps it in the run's folder.

    The step is a number among others, which the charts are drawn by: scores arrive after those of
    later steps, and with `step=` the service would drop them.
    """

    def __init__(self, config: Config) -> None:
        import wandb

        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", TRACKED_AS),
            name=config.run.name,
            id=tracked_id(config),
            resume="allow",
            dir=config.run_folder.local,
            config=computation_settings(config),
            settings=wandb.Settings(
                console="off",
                disable_code=True,
                disable_git=True,
                host=TRACKED_AS,
                username=TRACKED_AS,
                x_disable_machine_info=True,
                x_disable_meta=True,
                x_disable_stats=True,
            ),
        )
        self.run.define_metric("step")
        self.run.define_metric("*", step_metric="step")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Send the metrics of a step."""
        self.run.log(dict(metrics) | {"step": step})

    def close(self) -> None:
        """Send what is left."""
        self.run.finish()


class MlflowTracker:
    """A run at the MLflow server of MLFLOW_TRACKING_URI; a resumed run is found by its tag.

    By MLflow's REST API and the standard library: no release of its client fits the versions that
    are tested here.
    """

    def __init__(self, config: Config) -> None:
        self.server = _mlflow_server()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", TRACKED_AS)
        try:
            query = urllib.parse.urlencode({"experiment_name": name})
            found = self._ask(f"experiments/get-by-name?{query}")["experiment"]
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.NOT_FOUND:
                raise
            found = self._ask("experiments/create", {"name": name})
        experiment, tag = found["experiment_id"], tracked_id(config)
        wanted = {"experiment_ids": [experiment], "filter": f"tags.{TRACKED_AS}_run = '{tag}'"}
        if earlier := self._ask("runs/search", wanted).get("runs"):
            run = earlier[0]
            self._ask("runs/update", {"run_id": run["info"]["run_id"], "status": "RUNNING"})
        else:
            new = {
                "experiment_id": experiment,
                "run_name": config.run.name,
                "start_time": _now_ms(),
                "tags": [{"key": f"{TRACKED_AS}_run", "value": tag}],
            }
            run = self._ask("runs/create", new)["run"]
        self.run_id = run["info"]["run_id"]
        # A kill may have come before all were sent; the server refuses another value of one.
        known = {each["key"] for each in run.get("data", {}).get("params", ())}
        settings = computation_settings(config).items()
        params = [{"key": key, "value": str(value)} for key, value in settings if key not in known]
        for start in range(0, len(params), _MOST_PARAMS):
            part = params[start : start + _MOST_PARAMS]
            self._ask("runs/log-batch", {"run_id": self.run_id, "params": part})

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Send the metrics of a step."""
        when = {"timestamp": _now_ms(), "step": step}
        numbers = [{"key": key, "value": value} | when for key, value in metrics.items()]
        self._ask("runs/log-batch", {"run_id": self.run_id, "metrics": numbers})

    def close(self) -> None:
        """Mark the run as over."""
        end = {"run_id": self.run_id, "status": "FINISHED", "end_time": _now_ms()}
        self._ask("runs/update", end)

    def _ask(self, what: str, content: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a request, a POST if it has content, and return the answer."""
        request = urllib.request.Request(
            f"{self.server}/api/2.0/mlflow/{what}",
            data=None if content is None else json.dumps(content).encode(),
            headers={"Content-Type": "application/json"} | _authorization(),
        )
        with urllib.request.urlopen(request, timeout=_MLFLOW_ANSWER_S) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


def _mlflow_server() -> str:
    """Return the address of the server; urllib would open files too."""
    server = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not server.startswith(("http://", "https://")):
        raise ConfigError(
            "debug.tracker is mlflow, and MLFLOW_TRACKING_URI names no server. Set it, for the "
            "workers too, such as http://127.0.0.1:5000; or leave out --debug.tracker."
        )
    return server.rstrip("/")


def _authorization() -> dict[str, str]:
    """Return the header by MLFLOW_TRACKING_TOKEN, or _USERNAME and _PASSWORD, if they are set."""
    found = os.environ
    if token := found.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    if user := found.get("MLFLOW_TRACKING_USERNAME"):
        both = f"{user}:{found.get('MLFLOW_TRACKING_PASSWORD', '')}"
        return {"Authorization": f"Basic {base64.b64encode(both.encode()).decode()}"}
    return {}


def _now_ms() -> int:
    return int(1000 * time.time())


TRACKERS: dict[str, Callable[[Config], Tracker]] = {"wandb": WandbTracker, "mlflow": MlflowTracker}


class BackgroundTracker:
    """A tracker in a thread of its own, which warns once and sends no more if the service fails."""

    def __init__(self, open_it: Callable[[], Tracker], wait_s: float) -> None:
        self.wait_s = wait_s
        self.waiting: queue.SimpleQueue[tuple[int, Mapping[str, float]] | None] = (
            queue.SimpleQueue()
        )
        self.open_it = open_it
        self.thread = threading.Thread(target=self._send, name="tracker", daemon=True)
        self.thread.start()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Send the metrics of a step, soon."""
        self.waiting.put((step, metrics))

    def close(self) -> None:
        """Wait until everything is sent, but no longer than `wait_s` seconds."""
        self.waiting.put(None)
        self.thread.join(self.wait_s)

    def _send(self) -> None:
        try:
            tracker = self.open_it()
            while (each := self.waiting.get()) is not None:
                tracker.log(*each)
            tracker.close()
        except Exception as error:
            print(
                f"warning: The tracker of the run fails ({type(error).__name__}), and gets no more "
                "numbers. metrics.jsonl and TensorBoard have all of them.",
                file=sys.stderr,
                flush=True,
            )


def open_tracker(config: Config) -> Tracker | None:
    """Return the tracker of a run, or None.

    Raises:
        ConfigError: See `require_tracker`.
    """
    require_tracker(config)
    kind = config.debug.tracker
    if kind == "none":
        return None
    wait_s = min(_LAST_WAIT_S, _PART_OF_GRACE * config.scale.grace_s)
    return BackgroundTracker(lambda: TRACKERS[kind](config), wait_s)


def require_tracker(config: Config) -> None:
    """Check what the tracker of a run needs here.

    Raises:
        ConfigError: Its package is not installed, no server is named, or it has no folder.
    """
    if config.debug.tracker == "mlflow":
        _mlflow_server()
    if config.debug.tracker != "wandb":
        return
    found = find_spec("wandb")
    if found is None or found.origin is None:  # without a file it is a mere folder of this name
        raise ConfigError(
            "debug.tracker is wandb, whose package is not installed here. Install it, on every "
            "node: `pip install wandb`; or leave out --debug.tracker."
        )
    if os.environ.get("WANDB_MODE") == "offline" and not config.run_folder.local:
        raise ConfigError(
            "WANDB_MODE is offline, which keeps the numbers in the run's folder, but the run is "
            "under a URL. Give --run.storage a folder, unset WANDB_MODE, or leave out "
            "--debug.tracker."
        )


def tracked_id(config: Config) -> str:
    """Return a random name for a run, kept in its folder so that a resumed run has it too."""
    path = config.run_folder / _ID_FILE
    try:
        return path.read_text()
    except FileNotFoundError:
        name = secrets.token_hex(8)
        path.put(name.encode())
        return name
