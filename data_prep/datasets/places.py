"""Resolves --mri and --ct: a folder, or a pattern that names files and folders.

    MRI                             all volumes below a folder
    imagesTr/*_0000.nii.gz          a file per match
    set_1/{subject}/*_MR_T1.nrrd    the subject is the text at {subject}

`*`, `?` and `[...]` match within one part of the path, `**` any number of folders. Without
{subject}, the first part with a wildcard names the subject by the text that the wildcards match.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.readers.formats import stem_of
from mrct.errors import UsageError

_SUBJECT = "{subject}"
_WILD = re.compile(r"\*\*|\*|\?|\[[^\]]+\]|\{subject\}")
_TOKENS = re.compile(rf"{_WILD.pattern}|[^*?\[{{]+|.")


@dataclass(frozen=True, kw_only=True, slots=True)
class InputPlace:
    """A file or folder to convert."""

    path: Path = field(repr=False)
    base: Path = field(repr=False)
    """The folder given, or the part of a pattern before its first wildcard: names are relative to
    it."""
    label: str | None = field(default=None, repr=False)
    """The subject according to the pattern; None for a folder that was given itself."""
    is_subject_named: bool = False
    """Whether the pattern marks the subject with {subject}."""


def places_of(given: Path, flag: str) -> list[InputPlace]:
    """Return the folder `given`, or the matches of the pattern `given`, sorted.

    Raises UsageError if a pattern matches nothing.
    """
    if not is_pattern(given):
        return [InputPlace(path=given, base=given)]
    fixed = [not _WILD.search(part) for part in given.parts].index(False)
    base, open_parts = Path(*given.parts[:fixed]), given.parts[fixed:]
    places = list(_matches(base, open_parts))
    if not places:
        raise UsageError(
            f"{flag} {given} matches no file and no folder. Quote the pattern, so that the shell "
            f"leaves it as it is, and check it with: ls {base}"
        )
    return places


def is_pattern(given: Path) -> bool:
    """Return whether a path has wildcards; one that exists is taken as it is."""
    return any(_WILD.search(part) for part in given.parts) and not given.exists()


def _matches(base: Path, parts: tuple[str, ...]) -> Iterator[InputPlace]:
    """Yield the matches below `base`, except hidden ones and those below another match."""
    whole = _regex(parts)
    marked = [name for name in whole.groupindex if name.startswith("subject")]
    open_text = [name for name in whole.groupindex if name.startswith("first")]
    found: set[Path] = set()
    for path in sorted(base.glob("/".join(parts).replace(_SUBJECT, "*"))):
        place = path.relative_to(base)
        match = whole.fullmatch(place.as_posix())
        if match is None or any(part.startswith(".") for part in place.parts):
            continue
        if found.isdisjoint(path.parents):
            found.add(path)
            label = "/".join(match[name] for name in marked or open_text) or place.parts[0]
            yield InputPlace(
                path=path,
                base=base,
                label=stem_of(label) if path.is_file() else label,
                is_subject_named=bool(marked),
            )


def _regex(parts: tuple[str, ...]) -> re.Pattern[str]:
    """Return a regular expression of relative paths, with a group for each wildcard that can name
    the subject."""
    text = ""
    for number, part in enumerate(parts):
        end = "" if number == len(parts) - 1 else "/"
        if part == "**":
            text += "(?:[^/]+/)*" if end else ".*"
            continue
        for token in _TOKENS.findall(part):
            if token == _SUBJECT:
                text += f"(?P<subject{len(text)}>[^/]+)"
            elif _WILD.fullmatch(token):
                inner = {"*": "[^/]*", "**": "[^/]*", "?": "[^/]"}.get(
                    token, token.replace("[!", "[^")
                )
                text += f"(?P<first{len(text)}>{inner})" if number == 0 else inner
            else:
                text += re.escape(token)
        text += end
    return re.compile(text)
