"""Starts Ray as the commands do, and tries every port of it as a stranger; prints what each said.

A program of its own: Ray's ports are to be those of one process, and its token unknown here.
"""

import json
import time
import urllib.error
import urllib.request
from contextlib import suppress
from typing import Any

import grpc
import psutil
import ray

from mrct.ray_session import ray_session

METHODS = (
    "NodeInfoGcsService/CheckAlive",
    "JobInfoGcsService/GetAllJobInfo",
    "CoreWorkerService/PushTask",
    "NodeManagerService/GetNodeStats",
    "ObjectManagerService/Push",
    "LogService/ListLogs",
    "ReporterService/GetTraceback",
)
PATHS = ("api/jobs/", "nodes", "metrics", "get_or_create_runtime_env")
EVERYWHERE = ("::", "0.0.0.0")
AGENT_PORT = "127.0.0.1:52365"
"""Where Ray's dashboard agent listens by default; one on a machine."""
AGENTS = {"DashboardAgent": 2, "RuntimeEnvAgent": 1}
"""Processes of Ray that come up last, and how many ports each opens."""


def by_http(address: str) -> dict[str, int | str]:
    """The status of each path; nothing where the door does not speak HTTP."""
    answers: dict[str, int | str] = {}
    for path in PATHS:
        try:
            with urllib.request.urlopen(f"http://{address}/{path}", timeout=5) as answer:
                answers[path] = answer.status
        except urllib.error.HTTPError as error:
            answers[path] = error.code
            error.close()
        except Exception:  # not HTTP: http.client raises whatever it makes of the bytes
            return {}
    return answers


def by_grpc(address: str) -> dict[str, int | str]:
    """The status of each of Ray's methods; a door knows only those of its own service."""
    answers: dict[str, int | str] = {}
    with grpc.insecure_channel(address) as channel:
        for method in METHODS:
            try:
                channel.unary_unary(f"/ray.rpc.{method}")(b"", timeout=5)
                answers[method] = "OPEN"
            except grpc.RpcError as error:
                answers[method] = error.code().name
    return answers


def listening() -> list[tuple[str, Any]]:
    """(command, address) of every door of this process and of all that it started."""
    me, found = psutil.Process(), []
    for process in [me, *me.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # they come and go
            name = " ".join(process.cmdline())
            doors = process.net_connections("tcp")
            found += [(name, door.laddr) for door in doors if door.status == psutil.CONN_LISTEN]
    return found


def agents_are_up() -> bool:
    ports = [(name, address.port) for name, address in listening()]
    return all(
        len({port for name, port in ports if agent in name}) >= num_doors
        for agent, num_doors in AGENTS.items()
    )


def main() -> None:
    """Knock at every door of this process and of all that it started."""
    doors = []
    while by_http(AGENT_PORT):  # of a Ray beside this one, which would keep this one's agent closed
        time.sleep(1)
    with ray_session(num_cpus=1, dashboard=True):
        ray.get(ray.remote(lambda: 1).remote())
        until = time.monotonic() + 60
        while not agents_are_up():  # after the first task
            assert time.monotonic() < until, listening()
            time.sleep(0.2)
        for name, door in listening():
            host = "127.0.0.1" if door.ip in EVERYWHERE else door.ip
            address = f"{host}:{door.port}"
            answers = by_http(address) or by_grpc(address)
            doors.append([name, door.ip, door.port, answers])
    print(json.dumps(doors))


if __name__ == "__main__":
    main()
