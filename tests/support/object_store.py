"""A local S3 server for tests: moto's, in this process, reached as any other through AWS_*."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

import fsspec
import pytest
from moto.server import ThreadedMotoServer

from mrct.storage.object_path import ObjectPath


def unreachable(monkeypatch: pytest.MonkeyPatch) -> ObjectPath:
    """A folder of a server that is down, which its client finds out at once."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    fs = fsspec.filesystem("s3", skip_instance_cache=True)
    monkeypatch.setattr(ObjectPath, "_reach", lambda self: (fs, fs._strip_protocol(self.url)))
    return ObjectPath("s3://bucket/folder")


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
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        fsspec.filesystem("s3").mkdir("bucket")
        try:
            yield "s3://bucket"
        finally:
            server.stop()
