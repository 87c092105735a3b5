"""The promises about faults, and the injections by which each is counted."""

from functools import partial

from tests.faults import bit_rot
from tests.faults.by_pytest import each_by_pytest
from tests.faults.case import harmful_inputs, odd_inputs
from tests.faults.checkpoint_kills import kills_of_saves
from tests.faults.convert_kills import KILLS_OF_A_STORE, kills_of_conversions
from tests.faults.divergence import poisoned_runs
from tests.faults.flipped_headers import LIARS, converted_headers, scanned_headers
from tests.faults.hanging import hanging_runs
from tests.faults.injections import Kind
from tests.faults.mutated_files import mutated_files
from tests.faults.planted import BAD_EVERY, SERIES, planted_series
from tests.faults.refusals_page import HARMFUL, LEGAL
from tests.faults.search_kills import KILLS_OF_A_SEARCH, kills_of_drivers
from tests.faults.train_kills import KILLS_OF_A_RUN, kills_of_runs

HARMFUL_CASES = [case for cases in HARMFUL.values() for case in cases]
LEGAL_CASES = [case for cases in LEGAL.values() for case in cases]
CANARIES = 1000
"""Texts of patients; the test counts that there are more."""
STREAM_KILLS = 40
ROUNDS = 48
"""Rounds of each test of simultaneous starts; all but one test have two more."""
TESTS = {
    "patient text": ["tests/flow/test_no_patient_text.py"],
    "streams": [
        "tests/faults/test_stream_faults.py::"
        "test_s3_s4_after_kills_the_ledger_is_that_of_an_unbroken_run"
    ],
    "full disks": [
        "tests/data_prep/store/test_writer.py::"
        "test_a_volume_outlives_a_successor_that_does_not_fit",
        "tests/data_prep/store/test_index.py::test_a_full_temporary_folder_is_named",
        "tests/faults/test_store_faults.py::"
        "test_z5_a_full_or_read_only_disk_is_said_so_and_the_run_resumes",
        "tests/faults/test_store_faults.py::test_z5_a_volume_that_will_not_fit_is_not_begun",
        "tests/cyclegan/train/checkpoint/test_background_save.py::"
        "test_a_failure_of_the_thread_ends_the_run",
        "tests/cyclegan/train/run/test_worker_failures.py::"
        "test_a_full_disk_loses_no_checkpoint_and_is_told_as_what_it_is",
        "tests/faults/test_full_disk_exports.py::"
        "test_an_export_that_does_not_fit_is_told_and_leaves_nothing",
        "tests/cyclegan/translate/test_main.py::"
        "test_a_full_disk_stops_all_and_leaves_no_half_result",
        "tests/tune/search/test_event_log.py::"
        "test_on_a_full_disk_no_event_is_taken_and_whoever_searches_can_see_it",
        "tests/faults/test_tune_faults.py::"
        "test_a_full_disk_stops_a_search_that_continues_when_there_is_room",
    ],
    "signals": [
        "tests/cyclegan/train/run/test_signals.py::"
        "test_a_run_outlives_a_killed_worker_a_killed_command_and_signals_and_ends",
        "tests/cluster/test_slurm.py::"
        "test_a_training_that_slurm_takes_the_nodes_from_saves_and_ends_in_its_second_life",
        "tests/flow/test_ray_job_phrase.py::"
        "test_the_phrase_is_stopped_saves_after_ray_has_killed_it_continues_and_ends",
    ],
    "nodes": [
        "tests/faults/test_cluster_faults.py::test_a_run_outlives_a_node",
        "tests/faults/test_cluster_faults.py::test_a_search_outlives_a_node",
        "tests/faults/test_cluster_faults.py::"
        "test_a_run_saves_before_a_node_goes_that_gave_notice_and_ends",
        "tests/faults/test_cluster_faults.py::test_a_cluster_without_any_machine_grows_for_a_run",
    ],
    "starts": [
        f"tests/faults/test_simultaneous_starts.py::{name}"
        for name in (
            "test_conversions_make_one_store_with_one_key_and_no_volume_twice",
            "test_conversions_that_use_no_volume_remove_no_store_of_another",
            "test_a_new_key_is_the_same_for_all_that_ask_for_it",
            "test_one_training_of_a_name_runs",
            "test_one_search_of_a_name_begins",
            "test_one_export_of_a_name_is_published",
            "test_exports_that_may_overwrite_each_other_leave_a_whole_one",
        )
    ],
    "searches": [
        "tests/faults/test_tune_faults.py::"
        "test_a_trial_whose_worker_is_killed_continues_from_its_checkpoint",
        "tests/faults/test_tune_faults.py::test_sigterm_ends_a_search_as_preempted_and_it_continues",
        "tests/faults/test_tune_faults.py::"
        "test_a_trial_that_diverges_ranks_last_and_the_search_continues",
        "tests/faults/test_tune_faults.py::"
        "test_a_store_that_goes_away_while_trials_train_ends_no_trial",
        "tests/faults/test_tune_faults.py::"
        "test_a_trial_of_a_population_continues_from_the_weights_of_another",
    ],
}
"""Injections that need a flow, a Ray or a disk of their own."""

PROMISES = {
    "P1": "A deterministic run that is killed anywhere and restarted, on 1, 2 or 4 workers, ends "
    "with the bits of an unbroken one: weights, optimizers, replay pools.",
    "P2": "No sample is repeated and none is lost, in the same order, over the same kills.",
    "P3": "No kill loses a committed checkpoint or volume; what is opened is complete.",
    "P4": "Every stored byte is verified before it is used, and the damaged file is named.",
    "P5": "A file that is lost, cut or empty is an error, and never zeros.",
    "P6": "No volume is silently wrong, and what is odd but legal is accepted.",
    "P7": "A conversion continues past bad series, and its quarantine is exact: the rest is "
    "identical to the byte.",
    "P8": "A conversion that is killed and resumed gives the same store, without litter.",
    "P9": "No text of a patient is in a store, log, run, model or result.",
    "P10": "A run that meets numbers that are not finite heals or stops clean; at most one save "
    "interval is lost.",
    "P11": "No run hangs: whatever becomes of a worker, all work again within 60 s, and the first "
    "that failed is named.",
    "P12": "A hostile file cannot hurt who reads it: no crash, no growth, no file beside it.",
    "P13": "A full disk is harmless: nothing committed is lost, and what stopped can be resumed.",
    "P14": "A search survives its driver: the same trials, none lost, the same scores.",
    "P15": "Of commands of one name that start at once, one does the work, and the others say why "
    "not.",
}


def tested(name: str, promises: tuple[str, ...], key: str) -> Kind:
    """Injections that are tests, one each."""
    tests = TESTS[key]
    return Kind(
        name=name,
        promises=promises,
        full=len(tests),
        begin=partial(each_by_pytest, tests=tests),
    )


KINDS = [
    *(
        Kind(name=f"flipped bits of {what}", promises=("P4",), full=1000, begin=begin)
        for what, begin in {
            "voxels and masks in a store": bit_rot.flips_of_shards,
            "commit records": bit_rot.flips_of_records,
            "the files that open a store": bit_rot.flips_of_what_opens_a_store,
            "compressed NIfTI files": bit_rot.flips_of_gzip_files,
            "checkpoints": bit_rot.flips_of_checkpoints,
            "models": bit_rot.flips_of_models,
        }.items()
    ),
    Kind(
        name="files of a store that are lost, cut or emptied",
        promises=("P5",),
        full=300,
        begin=bit_rot.losses_of_files,
    ),
    Kind(
        name="kills of a process that saves checkpoints",
        promises=("P3",),
        full=1000,
        begin=kills_of_saves,
    ),
    Kind(
        name="kills of conversions",
        promises=("P3", "P8"),
        full=300,
        each=KILLS_OF_A_STORE,
        begin=kills_of_conversions,
    ),
    Kind(
        name="kills of runs that score at once",
        promises=("P1", "P2"),
        full=200,
        each=KILLS_OF_A_RUN,
        begin=partial(kills_of_runs, scoring="inline"),
    ),
    Kind(
        name="kills of runs that score beside the training",
        promises=("P1", "P2"),
        full=40,
        each=KILLS_OF_A_RUN,
        begin=partial(kills_of_runs, scoring="beside"),
    ),
    Kind(
        name="kills of streams with neighbours, read by 1 to 8 workers",
        promises=("P2",),
        full=STREAM_KILLS,
        each=STREAM_KILLS,
        begin=partial(each_by_pytest, tests=TESTS["streams"]),
    ),
    *(
        Kind(
            name=f"batches that are not finite, in runs that score {how}",
            promises=("P10",),
            full=50,
            begin=partial(poisoned_runs, scoring=scoring),
        )
        for scoring, how in {"inline": "at once", "beside": "beside the training"}.items()
    ),
    Kind(
        name="harmful series and files",
        promises=("P6",),
        full=120,  # a few fewer than there are, so that the page stays true beside a new one
        begin=partial(harmful_inputs, cases=HARMFUL_CASES),
    ),
    Kind(
        name="odd and legal series and files",
        promises=("P6",),
        full=50,
        begin=partial(odd_inputs, cases=LEGAL_CASES),
    ),
    Kind(
        name=f"bad series, one of {BAD_EVERY}, in conversions of {SERIES}",
        promises=("P7",),
        full=50,
        each=SERIES // BAD_EVERY,
        begin=planted_series,
    ),
    Kind(
        name="flipped bits of headers that are scanned",
        promises=("P6", "P12"),
        full=3000,
        begin=scanned_headers,
    ),
    Kind(
        name="flipped bits of headers, in conversions with two sound volumes each",
        promises=("P6", "P12"),
        full=40 * LIARS,
        each=LIARS,
        begin=converted_headers,
    ),
    Kind(name="mutated files", promises=("P12",), full=20_000, begin=mutated_files),
    Kind(
        name="texts of patients in the input of a whole flow",
        promises=("P9",),
        full=CANARIES,
        each=CANARIES,
        begin=partial(each_by_pytest, tests=TESTS["patient text"]),
    ),
    Kind(
        name="rounds of 2, 3 or 5 commands that start at once",
        promises=("P15",),
        full=ROUNDS * len(TESTS["starts"]),
        each=ROUNDS,
        begin=partial(each_by_pytest, tests=TESTS["starts"]),
    ),
    tested("full disks, one for each place that writes", ("P13",), "full disks"),
    Kind(
        name="workers that are killed, freeze, crash, deadlock or wait for a loader",
        promises=("P11",),
        full=30,
        begin=hanging_runs,
    ),
    tested("signals and kills of commands", ("P11",), "signals"),
    tested("nodes of a cluster that come and go", ("P11", "P14"), "nodes"),
    Kind(
        name="kills of drivers",
        promises=("P14",),
        full=20,
        each=KILLS_OF_A_SEARCH,
        begin=kills_of_drivers,
    ),
    tested("other faults of a search", ("P14",), "searches"),
]
"""In the order of a count: what is cheap first."""


def kinds_of(promise: str) -> list[Kind]:
    """The injections that count for a promise."""
    return [kind for kind in KINDS if promise in kind.promises]
