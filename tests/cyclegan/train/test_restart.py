"""Of several workers that failed, the one that failed first is named."""

from cyclegan.errors import LoaderError
from cyclegan.train.restart import FAILURES, culprit, leave_word, word_left


class WorkerHealthCheckFailedError(Exception):
    """As Ray's, by its name."""


GONE = WorkerHealthCheckFailedError("A worker health check failed.\nThe actor is dead.")
WAITED = RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1")
OWN = LoaderError("no batch for 60 s: reading slices")


def test_who_died_comes_before_who_failed_and_who_only_waited_comes_last():
    assert culprit({0: WAITED, 1: OWN, 2: GONE}) == (
        2,
        "answers no more (its process died or was frozen)",
    )
    assert culprit({0: WAITED, 1: OWN}) == (1, f"failed ({OWN})")
    rank, words = culprit({1: WAITED})
    assert rank == 1
    assert words.startswith("waited in vain for another one ([gloo")
    assert culprit({3: ValueError()}) == (3, "failed (ValueError)")


def test_a_word_is_left_and_told_once(tmp_path):
    leave_word(tmp_path, {1: OWN, 0: WAITED})

    told = list(word_left(tmp_path))

    assert told == [f"warning: worker 1 failed ({OWN}); all workers were started again."]
    assert list(word_left(tmp_path)) == []
    assert not (tmp_path / FAILURES).exists()
