"""Histograms of durations, whose percentiles are within two per cent, and the latencies that one process shows."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.datatypes import MAX_INTEGER
from shared.histograms import ZERO_BUCKET, bucket_of, buckets_of, percentile, representative
from shared.models import ImageGenerationTransaction
from shared.statistics import LatencyMeter

durations = st.floats(0.001, MAX_INTEGER) | st.integers(1, MAX_INTEGER)


@given(durations)
def test_a_bucket_stands_for_its_durations_within_two_per_cent(milliseconds: float) -> None:
    """The representative of a duration's bucket is at most 2 % away from it."""
    assert abs(representative(bucket_of(milliseconds)) - milliseconds) <= 0.02 * milliseconds * (1 + 1e-9)


@given(durations, durations)
def test_longer_durations_have_no_smaller_buckets(one: float, other: float) -> None:
    """The order of buckets is the order of durations."""
    shorter, longer = sorted((one, other))
    assert bucket_of(shorter) <= bucket_of(longer)


@given(st.lists(durations, min_size=1, max_size=200), st.sampled_from([0.0, 0.5, 0.9, 0.95, 0.99, 1.0]))
def test_a_percentile_is_within_two_per_cent_of_the_true_one(values: list[float], quantile: float) -> None:
    """The percentile of the histogram is at most 2 % away from the value of that rank."""
    histogram = Counter(map(bucket_of, values))
    true = sorted(values)[int(quantile * (len(values) - 1))]
    estimate = percentile(histogram, quantile)
    assert estimate is not None
    assert abs(estimate - true) <= 0.02 * true * (1 + 1e-9)


@pytest.mark.parametrize("milliseconds", [0, 0.0, 1e-300])
def test_no_time_at_all_has_a_bucket_of_its_own(milliseconds: float) -> None:
    """Zero can't be put on a logarithmic scale; it stands for itself."""
    assert bucket_of(milliseconds) == ZERO_BUCKET
    assert representative(ZERO_BUCKET) == 0


def test_an_empty_histogram_has_no_percentiles() -> None:
    """Nothing is said of durations that no record has."""
    assert percentile({}, 0.5) is None


def test_only_the_durations_that_a_record_has_are_counted() -> None:
    """A record's hidden buckets are those of its own durations."""
    record = {"totalDuration": 100, "imageGenerationDuration": 0, "fileSize": 5}
    assert buckets_of(ImageGenerationTransaction, record) == {
        "totalDuration": bucket_of(100),
        "imageGenerationDuration": ZERO_BUCKET,
    }


def test_latencies_are_told_by_operation() -> None:
    """A process shows how often and how fast each of its operations was."""
    meter = LatencyMeter()
    for milliseconds in (10, 20, 30):
        meter.observe("list_events", milliseconds)
    figures = meter.figures()["list_events"]
    assert figures["count"] == 3
    assert figures["p50"] == pytest.approx(20, rel=0.02)
