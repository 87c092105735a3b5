"""Files become sources with pseudonyms; names of people stay behind."""

import pytest

from data_prep.discover import plan_jobs, sources_in_folder
from data_prep.errors import UsageError
from data_prep.pseudonym import Key

KEY = Key(secret=b"k" * 32)


@pytest.fixture
def folder(tmp_path):
    for name in ("Doe^Jane.nii.gz", "b.nii", "._b.nii", "notes.txt"):
        (tmp_path / name).touch()
    return tmp_path


def test_only_nifti_files_count_and_mac_litter_does_not(folder):
    sources, _ = sources_in_folder(folder, "mri", KEY, paired=False)
    assert [source.path.name for source in sources] == ["Doe^Jane.nii.gz", "b.nii"]
    assert not [source for source in sources if "Doe" in source.name + source.subject]


def test_equal_names_are_one_subject_only_when_paired(folder):
    def subjects(paired):
        return [
            {
                source.subject
                for source in sources_in_folder(folder, modality, KEY, paired=paired)[0]
            }
            for modality in ("mri", "ct")
        ]

    mri, ct = subjects(paired=False)
    assert not mri & ct
    mri, ct = subjects(paired=True)
    assert mri == ct


def test_a_pair_is_one_job_with_the_mri_first(folder):
    sources = [
        source
        for modality in ("ct", "mri")
        for source in sources_in_folder(folder, modality, KEY, paired=True)[0]
    ]
    jobs = plan_jobs(sources, {}, (0.8, 0.1, 0.1))
    assert [[source.modality for source in job.sources] for job in jobs] == [["mri", "ct"]] * 2
    assert sorted(source.number for job in jobs for source in job.sources) == [1, 2, 3, 4]


def test_an_empty_folder_is_named_with_what_it_holds(tmp_path):
    (tmp_path / "scan.dcm").touch()
    with pytest.raises(UsageError, match="1 other entries"):
        sources_in_folder(tmp_path, "ct", KEY, paired=False)


def test_two_files_of_one_name_are_no_pair(folder):
    (folder / "b.nii.gz").touch()
    with pytest.raises(UsageError, match="two files for one subject"):
        sources_in_folder(folder, "mri", KEY, paired=True)
