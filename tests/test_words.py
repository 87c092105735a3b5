"""Names and sentences stay those of the field: words that were taken out do not come back."""

import ast
import re
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("mrct", "data_prep", "cyclegan", "tune", "cluster", "benchmarks", "examples")

PARTS = {
    "critic": "discriminator",
    "critics": "discriminators",
    "translator": "generator",
    "translators": "generators",
    "harmonise": "preprocess",
    "harmonised": "preprocessed",
    "contestant": "model under test",
    "rival": "compared model",
    "rivals": "compared models",
    "journal": "metrics log",
    "rehearse": "dry run",
    "rehearsal": "dry run",
    "culprit": "first failure",
    "verdict": "fatal error, comparison",
    "verdicts": "comparisons",
    "told": "requested, reported",
    "heard": "reported",
    "hears": "is called",
    "vain": "collateral",
    "patiently": "retry",
    "persistently": "retry",
    "dial": "derived setting",
    "dials": "derived settings",
    "ledger": "event log",
    "stopwatch": "timer",
}
"""Parts of identifiers, between underscores and capitals, and what to say instead."""

NAMES = {
    "go_on_from": "resume_from",
    "leads": "is_rank_zero",
    "leave_word": "record_failure",
    "word_left": "read_failure",
    "lets_everyone_in": "accepts_unauthenticated_clients",
    "machine_goes": "node_preempted",
    "way_back": "rollback_target, inverse_engine",
    "Course": "TrialContext",
    "Ending": "SearchStopper",
    "Handed": "TrialSpec",
    "Journal": "MetricsLog",
    "Making": "SyntheticSeriesMetadata",
    "Natives": "NativeGridReader",
    "Place": "StoragePath",
    "Prospect": "ScalingPoint",
    "Rhythm": "EpochOverhead",
    "Witness": "FailureRecorder",
    "Found": "what was found",
    "Findings": "what was found",
    "Finding": "what was found",
    "Job": "which job",
    "Reading": "which read",
    "Outcome": "of what",
    "Command": "which command",
}
"""Whole identifiers, and what to say instead."""

PHRASES = (
    r"\bin vain\b",
    r"\bhears\b",
    r"\bstranger(?:'s|s)? file",
    r"\bwithout a word\b",
    r"\b(?:is|are|was|were) told\b",
    r"\b(?:leaves?|left) (?:a )?word\b",
    r"\bfor your eyes only\b",
    r"\band what of\b",
    r"\bgravest\b",
    r"\bon the brink\b",
    r"\bno jail\b",
    r"\bno news\b",
    r"\bfood for\b",
    r"\bknows nothing of\b",
    r"\bleft alone\b",
    r"\bto a place\b",
    r"\bspeaks? against\b",
    r"\bor a bomb\b",
    r"\baside of\b",
    r"\bone sitting\b",
    r"\bchokes? on\b",
    r"\bletter asks\b",
    r"\banswers no more\b",
    r"\bholds no picture\b",
    r"\bfor ever\b",
    r"\bsigns? of life\b",
    r"\banew\b",
    r"\bdealt out\b",
    r"\basks nobody\b",
    r"\btells nobody\b",
    r"\bplainest\b",
    r"\bharmonis",
    r"\bgoes on bit for bit\b",
    r"\bbeen at hand\b",
    r"\bwhose (?:it|they) (?:is|are) is unknown\b",
    r"(?<![`.])\btranslators?\b(?!`|\.\w)",
    r"(?<![`.])\bcritics?\b(?!`|\.\w)",
)
"""Patterns that no message, help, docstring, comment or document matches."""

OLD_NAMES_ALLOWED = {"benchmarks/same_as.py"}
OLD_NAMES = re.compile(r"\n## (?:What is called what|Where files went)\n.*?(?=\n## |\Z)", re.DOTALL)
"""Sections of docs/architecture.md that exist to name what was renamed."""


def listed(*patterns: str) -> list[str]:
    out = subprocess.check_output(
        ["git", "ls-files", "-co", "--exclude-standard", *patterns], cwd=ROOT
    )
    return [name for name in out.decode().splitlines() if (ROOT / name).is_file()]


SOURCES = [name for name in listed("*.py") if name.split("/")[0] in PACKAGES]


@cache
def tree(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text())


def test_identifiers_are_words_of_the_field():
    assert_none(f"{name}:{found}" for name in SOURCES for found in wrong_identifiers(tree(name)))


def wrong_identifiers(module: ast.Module) -> Iterator[str]:
    for line, identifier in identifiers(module):
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", identifier).lower().split("_")
        for better in [NAMES.get(identifier), *(PARTS.get(word) for word in words)]:
            if better:
                yield f"{line}: {identifier}: say {better}"


def identifiers(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield every name that a module defines, binds or passes, with its line."""
    for node in ast.walk(module):
        match node:
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
            ):
                yield node.lineno, name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.Attribute(attr=name, ctx=ast.Store()) | ast.keyword(arg=str(name)):
                yield node.lineno, name


def test_no_two_classes_share_a_name():
    homes = defaultdict(list)
    for name in SOURCES:
        for node in ast.walk(tree(name)):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(name)
    assert_none(f"{name}: {files}" for name, files in homes.items() if len(files) > 1)


def test_no_sentence_has_a_phrase_that_was_taken_out():
    texts = [name for name in [*SOURCES, *listed("*.md", "*.j2")] if name not in OLD_NAMES_ALLOWED]
    assert_none(f"{name}:{found}" for name in texts for found in phrases((ROOT / name).read_text()))


ANY_PHRASE = re.compile("|".join(PHRASES), re.IGNORECASE)


def phrases(text: str) -> Iterator[str]:
    text = OLD_NAMES.sub(lambda section: "\n" * section.group().count("\n"), text)
    # A line break may stand where a pattern has a blank.
    for match in ANY_PHRASE.finditer(re.sub(r"\s", " ", text)):
        yield f"{text.count(chr(10), 0, match.start()) + 1}: {match.group()}"


def test_errors_begin_with_a_capital():
    errors = error_classes()
    assert_none(
        f"{name}:{found}" for name in SOURCES for found in lowercase_messages(tree(name), errors)
    )


def error_classes() -> set[str]:
    """Return the names of `UserError` and of all classes that derive from it."""
    bases = {
        node.name: {ast.unparse(base).split(".")[-1] for base in node.bases}
        for name in SOURCES
        for node in ast.walk(tree(name))
        if isinstance(node, ast.ClassDef)
    }
    errors = {"UserError"}
    while more := {name for name, of in bases.items() if of & errors} - errors:
        errors |= more
    return errors


def lowercase_messages(module: ast.Module, errors: set[str]) -> Iterator[str]:
    for node in ast.walk(module):
        if (
            isinstance(node, ast.Call)
            and (error := ast.unparse(node.func).split(".")[-1]) in errors
        ):
            # VolumeError(code, reason, remedy): a code is no sentence.
            for argument in node.args[1:] if error == "VolumeError" else node.args[:1]:
                if is_lowercase(text := beginning(argument)):
                    yield f"{node.lineno}: {text}"


def beginning(node: ast.expr) -> str:
    """Return the literal text that a message begins with; empty where a value comes first."""
    match node:
        case (
            ast.Constant(value=str(text))
            | ast.JoinedStr(values=[ast.Constant(value=str(text)), *_])
        ):
            return text
        case ast.BinOp(left=left):
            return beginning(left)
        case _:
            return ""


def is_lowercase(text: str) -> bool:
    """Return whether a text begins with a lower-case word that is no setting, function or file."""
    return text[:1].islower() and not re.search(r"[_./(=]", text.split()[0].rstrip(".:,"))


def assert_none(found: Iterator[str]) -> None:
    lines = list(found)
    assert not lines, "\n".join(lines)


def messages_of(module: ast.Module) -> Iterator[str]:
    return lowercase_messages(module, {"UserError", "VolumeError"})


@pytest.mark.parametrize(
    ("check", "wrong", "right"),
    [
        (wrong_identifiers, "def load_critic(): ...", "def load_critical_values(): ..."),
        (wrong_identifiers, "self.bestTranslator = 1", "self.translation = 1"),
        (wrong_identifiers, "class Journal: ...", "class MetricsLog: ..."),
        (wrong_identifiers, "f(way_back=1)", "f(way_back)"),
        (lambda module: lowercase_messages(module, {"E"}), "raise E('no CT')", "raise E('No CT')"),
        (
            lambda module: lowercase_messages(module, {"E"}),
            "E(f'no {x}' + y)",
            "E(f'{x} is no CT')",
        ),
        (
            lambda module: lowercase_messages(module, {"VolumeError"}),
            "VolumeError('damaged', 'it ends early', 'Copy it')",
            "VolumeError('damaged', 'It ends early', 'store.json is missing')",
        ),
    ],
)
def test_the_checks_of_code_find_what_is_wrong(
    check: Callable[[ast.Module], Iterator[str]], wrong: str, right: str
):
    assert list(check(ast.parse(wrong)))
    assert not list(check(ast.parse(right)))


def test_the_check_of_sentences_finds_phrases():
    assert list(phrases("One.\nThe worker\nwaited in\nvain.\n")) == ["3: in vain"]
    assert list(phrases("Critics judge.")) == ["1: Critics"]
    assert not list(phrases("\n## Where files went\n\n| critic |\n"))
    assert list(phrases("\n## Where files went\n\n| critic |\n\n## Next\n\nA critic.\n"))
