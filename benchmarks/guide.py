"""What a guided generator costs: the time of a training step with and without its look-up.

    python -m benchmarks.guide STORE ["PRESET --section.field value ..."]

Both sides have the same preset and overrides but for `generator.guide`, noise of the store's size,
and take turns in one run. It prints the ratio of their medians; the goal is 1.1.
"""

import argparse
import sys
from dataclasses import replace

from benchmarks.recipes.candidate import machine, parse_config
from benchmarks.recipes.pace import step_ratio
from data_prep.store.store import open_store
from mrct.storage.paths import storage_path


def main(argv: list[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.guide",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("store")
    parser.add_argument("words", nargs="?", default="demo", help="preset and overrides, quoted")
    flags = parser.parse_args(argv)
    plain, guided = (
        replace(config, generator=replace(config.generator, guide=guide))
        for config in [parse_config(flags.words)]
        for guide in ("none", "table")
    )
    ratio = step_ratio(guided, plain, open_store(storage_path(flags.store)))
    print(f"{flags.words}: a guided step takes {ratio:.3f} times as long; {machine()}")


if __name__ == "__main__":
    main(sys.argv[1:])
