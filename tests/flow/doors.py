"""Starts Ray as the commands do, and tries every port of it as a stranger; prints what each said.

A program of its own: Ray's ports are to be those of one process, and its token unknown here.
"""

import json
import time
import urllib.error
import urllib.request

import grpc
import psutil
import ray

from data_prep.ray_session import ray_session

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


def main() -> None:
    """Knock at every door of this process and of all that it started."""
    doors = []
    with ray_session(num_cpus=1, dashboard=True):
        ray.get(ray.remote(lambda: 1).remote())
        time.sleep(5)  # the agents come up after the first task
        me = psutil.Process()
        for process in [me, *me.children(recursive=True)]:
            for door in process.net_connections("tcp"):
                if door.status == psutil.CONN_LISTEN:
                    host = "127.0.0.1" if door.laddr.ip in EVERYWHERE else door.laddr.ip
                    address = f"{host}:{door.laddr.port}"
                    answers = by_http(address) or by_grpc(address)
                    name = " ".join(process.cmdline())
                    doors.append([name, door.laddr.ip, door.laddr.port, answers])
    print(json.dumps(doors))


if __name__ == "__main__":
    main()
