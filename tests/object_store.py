"""A local S3 server for tests: moto's, in this process, reached as any other through AWS_*."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

import pytest
from moto.server import ThreadedMotoServer
from upath import UPath


def unreachable(monkeypatch: pytest.MonkeyPatch) -> UPath:
    """A folder of a server that is down, which its client finds out at once."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    return UPath("s3://bucket/folder", skip_instance_cache=True)


@contextmanager
def s3_server() -> Iterator[str]:
    """Start the server and point the environment to it; yields an empty bucket's URL."""
    logging.getLogger("werkzeug").setLevel("ERROR")
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as environment:
        host, port = server.get_host_and_port()
        environment.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        environment.setenv("AWS_REGION", "us-east-1")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            environment.setenv(name, "testing")
        # moto's servers of one process share their buckets.
        urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
        # fsspec keeps one client for all who ask in the same words: that of an earlier server, too.
        UPath("s3://bucket").fs.clear_instance_cache()
        UPath("s3://bucket").fs.mkdir("bucket")
        try:
            yield "s3://bucket"
        finally:
            server.stop()
