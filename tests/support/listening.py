"""The sockets on which commands accept connections, and what they answer to somebody unknown."""

import subprocess
import threading
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import grpc
import psutil

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
LOOK_EVERY_S = 1.0
Answers = dict[str, int | str]


@dataclass(frozen=True, slots=True)
class Socket:
    """A socket of a process that accepts connections."""

    command: str = field(compare=False)
    """Ray's workers change theirs with every task."""
    pid: int
    ip: str
    port: int

    @property
    def is_on_loopback(self) -> bool:
        return self.ip.removeprefix("::ffff:").startswith("127.") or self.ip == "::1"

    def answers(self) -> Answers:
        """What it says by HTTP, else by Ray's gRPC, without a token."""
        host = "127.0.0.1" if self.ip in EVERYWHERE else self.ip
        address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        return by_http(address) or by_grpc(address)


def by_http(address: str) -> Answers:
    """The status of each path; nothing where the socket does not speak HTTP."""
    answers: Answers = {}
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


def by_grpc(address: str) -> Answers:
    """The status of each of Ray's methods; a server knows only those of its own service."""
    answers: Answers = {}
    with grpc.insecure_channel(address) as channel:
        for method in METHODS:
            try:
                channel.unary_unary(f"/ray.rpc.{method}")(b"", timeout=5)
                answers[method] = "OPEN"
            except grpc.RpcError as error:
                answers[method] = error.code().name
    return answers


def asks_for_a_token(answers: Answers) -> bool:
    """Whether a server refused at least one request for want of a token, and granted none."""
    said = set(answers.values())
    return bool(said & {401, 403, "UNAUTHENTICATED"}) and not said & {200, "OPEN"}


def listening(pid: int | None = None) -> list[Socket]:
    """Every such socket of a process (this one), and of all that it started."""
    found = []
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):  # they come and go
                name = " ".join(process.cmdline())
                found += [
                    Socket(name, process.pid, *each.laddr)
                    for each in process.net_connections("tcp")
                    if each.status == psutil.CONN_LISTEN
                ]
    return found


class Ended(NamedTuple):
    """A command that ended."""

    returncode: int
    stdout: str
    stderr: str
    sockets: dict[Socket, Answers]
    """All that it, or what it started, accepted connections on; asked unless on loopback."""


def run_watched(command: list[str], *, timeout: float = 600, **options: Any) -> Ended:
    """Run a command as `subprocess.run` does, and look at its sockets meanwhile.

    Raises AssertionError for one that other machines reach and that asks for no token.
    """
    sockets: dict[Socket, Answers] = {}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    ) as process:
        over = threading.Event()
        watch = threading.Thread(target=look, args=(process.pid, over, sockets))
        watch.start()
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        finally:
            process.kill()
            over.set()
            watch.join()
    opened = {
        each: answers
        for each, answers in sockets.items()
        if not (each.is_on_loopback or asks_for_a_token(answers))
    }
    assert not opened, opened
    return Ended(process.returncode, stdout, stderr, sockets)


def look(pid: int, over: threading.Event, sockets: dict[Socket, Answers]) -> None:
    """Note each socket of a running command with its answers; who is too busy is asked again."""
    while not over.wait(LOOK_EVERY_S):
        for each in listening(pid):
            if each.is_on_loopback or asks_for_a_token(sockets.get(each, {})):
                sockets.setdefault(each, {})
                continue
            answers = each.answers()
            # One that closed meanwhile said nothing that counts, unless it let somebody wait.
            waited = "DEADLINE_EXCEEDED" in answers.values()
            if asks_for_a_token(answers) or waited or each in listening(pid):
                sockets[each] = answers
