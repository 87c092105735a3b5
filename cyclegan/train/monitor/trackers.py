"""Weights & Biases and MLflow: one callback each, which sends a run's settings and numbers.

Both are extras, and off by default. No picture, path or host name is sent: pictures show patients.
Sending happens in a thread of its own; if the service fails, the run continues without it.
"""

import hashlib
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Protocol, runtime_checkable

from cyclegan.config.config import Config
from cyclegan.config.files import computation_settings
from cyclegan.errors import ConfigError

TRACKED_AS = "cyclegan"
"""Project at Weights & Biases unless WANDB_PROJECT, experiment of MLflow unless
MLFLOW_EXPERIMENT_NAME says otherwise."""
_LAST_WAIT_S = 60.0
"""Seconds that the end of a run waits for what is not sent yet."""
_MOST_PARAMS = 100
"""MLflow's limit of parameters in one request."""


@runtime_checkable
class Tracker(Protocol):
    """What a service gets of a run."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Send the metrics of a step."""

    def close(self) -> None:
        """Tell the service that the run has ended or was stopped."""


class WandbTracker:
    """A run at Weights & Biases; WANDB_MODE=offline keeps it in the run's folder."""

    def __init__(self, config: Config) -> None:
        import wandb

        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", TRACKED_AS),
            name=config.run.name,
            id=_id_of(config),
            resume="allow",
            dir=config.run_folder.local,
            config=computation_settings(config),
            settings=wandb.Settings(
                console="off",
                disable_code=True,
                disable_git=True,
                x_disable_machine_info=True,
                x_disable_meta=True,
                x_disable_stats=True,
            ),
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Send the metrics of a step."""
        self.run.log(dict(metrics), step=step)

    def close(self) -> None:
        """Send what is left."""
        self.run.finish(quiet=True)


class MlflowTracker:
    """A run at the MLflow server of MLFLOW_TRACKING_URI; a resumed run is found by its name."""

    def __init__(self, config: Config) -> None:
        from mlflow.tracking import MlflowClient

        self.client = MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", TRACKED_AS)
        found = self.client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self.client.create_experiment(name)
        tag = _id_of(config)
        earlier = self.client.search_runs([experiment], f"tags.{TRACKED_AS}_run = '{tag}'")
        if earlier:
            self.run_id = earlier[0].info.run_id
            self.client.update_run(self.run_id, status="RUNNING")
            return
        tags = {f"{TRACKED_AS}_run": tag}
        run = self.client.create_run(experiment, run_name=config.run.name, tags=tags)
        self.run_id = run.info.run_id
        from mlflow.entities import Param

        params = [Param(key, str(value)) for key, value in computation_settings(config).items()]
        for start in range(0, len(params), _MOST_PARAMS):
            self.client.log_batch(self.run_id, params=params[start : start + _MOST_PARAMS])

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Send the metrics of a step."""
        from mlflow.entities import Metric

        now_ms = int(1000 * time.time())
        self.client.log_batch(
            self.run_id, metrics=[Metric(*each, now_ms, step) for each in metrics.items()]
        )

    def close(self) -> None:
        """Mark the run as over."""
        self.client.set_terminated(self.run_id)


TRACKERS: dict[str, Callable[[Config], Tracker]] = {"wandb": WandbTracker, "mlflow": MlflowTracker}
MODULE_PACKAGES = {"wandb": "wandb", "mlflow": "mlflow-skinny"}
"""Distributions of the modules of these names."""


class BackgroundTracker:
    """A tracker in a thread of its own, which warns once and sends no more if the service fails."""

    def __init__(self, open_it: Callable[[], Tracker]) -> None:
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
        """Wait until everything is sent, but not for long."""
        self.waiting.put(None)
        self.thread.join(_LAST_WAIT_S)

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
        ConfigError: Its package is not installed.
    """
    kind = config.debug.tracker
    if kind == "none":
        return None
    if find_spec(kind) is None:
        raise ConfigError(
            f"debug.tracker is {kind}, whose package is not installed here. Install it, on every "
            f"node: `pip install {MODULE_PACKAGES[kind]}`; or leave out --debug.tracker."
        )
    return BackgroundTracker(lambda: TRACKERS[kind](config))


def _id_of(config: Config) -> str:
    """Return a name for a run that a resumed run has too: of its folder, without its path."""
    return hashlib.sha256(str(config.run_folder).encode()).hexdigest()[:16]
