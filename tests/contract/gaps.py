"""What a server under test can't do, though its service can: those tests are skipped on it, each by the gap's name."""

from collections.abc import Mapping

import pytest

COSMIUM: Mapping[str, tuple[str, ...]] = {
    "If-Match is ignored": (
        "test_an_etag_is_stale_on_every_instance",
        "test_an_etag_from_before_a_delete_is_stale",
        "test_an_update_with_a_stale_etag_is_refused",
        'test_an_update_with_a_foreign_etag_is_refused[cosmium-"quoted"]',
        "test_deleting_with_a_stale_etag_is_refused",
        'test_deleting_with_a_foreign_etag_is_refused[cosmium-"quoted"]',
        "test_one_of_fifty_updates_wins",
        "test_fifty_increments_lose_nothing",
        "test_an_update_or_a_delete_wins",
        "test_processes_lose_none_of_each_other_s_increments",
        "test_any_series_agrees_with_a_dictionary",
        "test_fifty_patches_all_arrive",
        "test_one_of_fifty_patches_of_a_version_is_made",
        "test_fifty_counts_by_version_are_all_made",
    ),
    "batches are not atomic": (
        "test_existing_ids_do_not_keep_the_others_out",
        "test_batches_that_overlap",
        "test_processes_share_out_ids",
        "test_two_runs_of_delete_where_at_once",
    ),
}

FERRETDB: Mapping[str, tuple[str, ...]] = {
    "updates and deletes are not atomic between connections": (
        "test_one_of_fifty_updates_wins[mongodb-two-instances]",
        "test_fifty_increments_lose_nothing[mongodb-two-instances]",
        "test_an_update_or_a_delete_wins[mongodb-two-instances]",
        "test_fifty_patches_all_arrive[mongodb-two-instances]",
        "test_one_of_fifty_patches_of_a_version_is_made[mongodb-two-instances]",
        "test_fifty_counts_by_version_are_all_made[mongodb-two-instances]",
        "test_processes_lose_none_of_each_other_s_increments",
    ),
}

_GAPS: Mapping[str, Mapping[str, tuple[str, ...]]] = {"cosmium": COSMIUM, "mongodb": FERRETDB}


def gap_of(store: str, test: pytest.Item) -> str | None:
    """Why a test can't pass on a server, where it can't. A name stands for a test with or without its parameters."""
    names = {test.name, test.name.partition("[")[0]}
    return next((f"{store}: {gap}" for gap, tests in _GAPS.get(store, {}).items() if names & set(tests)), None)
