"""The reference pages say what the code says."""

import re
from dataclasses import fields

import pytest

import cyclegan.__main__ as cyclegan_main
from cyclegan.config.config import Config
from cyclegan.config.flags import sections_of
from cyclegan.config.presets import PRESETS
from tests.reference_pages import COMMANDS, DOCS, FOR_WHICH_DATA, PAGES, help_of, texts_of


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_that_of_the_code(name):
    expected = PAGES[name]()

    assert (DOCS / name).read_text() == expected, "regenerate: python -m tests.reference_pages"


def test_every_setting_is_explained():
    sections = sections_of(Config())

    assert {
        name: {each.name for each in fields(section)} - texts_of(type(section)).keys()
        for name, section in sections.items()
    } == {name: set() for name in sections}


def test_every_preset_says_what_it_is_for():
    assert FOR_WHICH_DATA.keys() == PRESETS.keys()


@pytest.mark.parametrize("program", ["data_prep", "tune", "cluster"])
def test_every_command_of_a_program_has_its_part(program):
    listed = help_of(program).partition("commands:\n")[2]

    commands = [command.split()[1] for command in COMMANDS if command.startswith(program)]
    assert re.findall(r"^  (\w+) ", listed, re.MULTILINE) == commands


def test_every_command_of_cyclegan_has_its_part():
    own = [command for command in COMMANDS if command.startswith("cyclegan.")]

    assert own == [f"cyclegan.{name}" for name in cyclegan_main.CYCLEGAN_COMMANDS]
