"""No dependency is under the GPL, and the page of licences is true."""

from tests.licences_page import COPYLEFT, PAGE, dependencies, licence_of, of_nvidia, page


def test_every_dependency_states_a_licence_and_none_is_under_the_gpl():
    licences = {name: licence_of(package) for name, package in dependencies().items()}

    assert len(licences) > 100
    assert [name for name, licence in licences.items() if not licence] == []
    assert [name for name, licence in licences.items() if COPYLEFT.search(licence)] == []


def test_the_page_of_licences_names_what_is_installed():
    assert PAGE.read_text() == page(), "regenerate it: python -m tests.licences_page"


def test_packages_of_nvidia_are_named():
    text = PAGE.read_text()

    assert "nvidia-cudnn-cu13" in of_nvidia()
    assert "| nvidia-nvjpeg | LicenseRef-NVIDIA-Proprietary |" in text
