"""Asks on a terminal which kinds of image to convert."""

import sys
from collections.abc import Sequence

from data_prep.datasets.series_choice import Ask
from data_prep.dicom.image_kind import ALL, KINDS
from mrct.errors import UsageError
from mrct.imaging.modality import Modality


def terminal_prompt() -> Ask | None:
    """Return the question if this runs on a terminal, where somebody can answer it."""
    return ask_kinds if sys.stdin.isatty() and sys.stdout.isatty() else None


def ask_kinds(modality: Modality, lines: Sequence[str], kinds: Sequence[str]) -> list[str]:
    """Show the table of kinds, and return those that are typed.

    Raises UsageError if the input ends without an answer.
    """
    print(f"The {modality.upper()} volumes are of {len(kinds)} kinds:", *lines, sep="\n")
    while True:
        try:
            answer = input(f"Which to convert? One or more of {' '.join(kinds)}, or {ALL}: ")
        except EOFError as error:
            raise UsageError(
                f"No kind of {modality.upper()} was chosen. Give --{modality}-kind."
            ) from error
        chosen = answer.replace(",", " ").split()
        unknown = [word for word in chosen if word not in (*KINDS[modality], ALL)]
        if chosen and not unknown:
            print(f"The same as --{modality}-kind {' '.join(chosen)}")
            return chosen
        print(f"{unknown[0] if unknown else 'An empty answer'} is no kind.")
