"""A kill may come before MLflow has all settings of a run: a resumed run sends the others."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from cyclegan.config.files import computation_settings
from cyclegan.train.monitor.trackers import MlflowTracker
from tests.cyclegan.train.monitor.test_trackers import tracked

KEPT = 3
"""Settings that the server has of the run before."""


class Server(HTTPServer):
    """As much of MLflow's server as a run asks of it, which knows one run already."""

    params: list[dict[str, str]]
    asked: list[str]


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.say({"experiment": {"experiment_id": "1"}})

    def do_POST(self) -> None:
        what = self.path.removeprefix("/api/2.0/mlflow/")
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(what)
        known = {each["key"] for each in self.server.params}
        new = content.get("params", [])
        if what == "runs/log-batch" and known & {each["key"] for each in new}:
            self.send_error(400)  # as MLflow refuses another value of a setting
            return
        self.server.params += new
        run = {"info": {"run_id": "7"}, "data": {"params": self.server.params[:]}}
        self.say({"runs": [run]} if what == "runs/search" else {})

    def say(self, answer: dict[str, Any]) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Answer) as server:
        server.params, server.asked = [], []
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()


def test_a_resumed_run_sends_the_settings_that_a_kill_kept_back(tmp_path, server):
    config = tracked(tmp_path, "mlflow")
    config.run_folder.make_folder()
    settings = {key: str(value) for key, value in computation_settings(config).items()}
    server.params = [{"key": key, "value": settings[key]} for key in [*settings][:KEPT]]

    MlflowTracker(config)

    assert {each["key"]: each["value"] for each in server.params} == settings
    assert len(server.params) == len(settings), "each once"
    assert "runs/create" not in server.asked
