"""Histograms of durations in logarithmic buckets, so that every database groups integers and all give the same answer.

A percentile's relative error is at most 2 %. Source: Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile
sketch with relative-error guarantees", VLDB 2019.
"""

import math
from collections.abc import Mapping
from typing import Any

from shared.models import Record

RELATIVE_ERROR = 0.02
ZERO_BUCKET = -1_000
_GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_LOG_GAMMA = math.log(_GAMMA)
_SMALLEST_MS = _GAMMA**ZERO_BUCKET


def bucket_of(milliseconds: float) -> int:
    """The bucket number of a duration of 0 ms or more."""
    if milliseconds <= _SMALLEST_MS:
        return ZERO_BUCKET
    return math.ceil(math.log(milliseconds) / _LOG_GAMMA)


def representative(bucket: int) -> float:
    """The duration in ms that stands for a bucket: within 2 % of every duration in it."""
    if bucket == ZERO_BUCKET:
        return 0.0
    return 2 * _GAMMA**bucket / (_GAMMA + 1)


def buckets_of(model: type[Record], record: Mapping[str, Any]) -> dict[str, int]:
    """The bucket number of each duration that a wire record of the model has."""
    return {name: bucket_of(record[name]) for name in model.durations if record.get(name) is not None}


def percentile(histogram: Mapping[int, int], quantile: float) -> float | None:
    """The duration in ms below which that share (0 to 1) of the durations lies; None for an empty histogram."""
    total = sum(histogram.values())
    rank = quantile * (total - 1)
    seen = 0
    for bucket in sorted(histogram):
        seen += histogram[bucket]
        if seen > rank:
            return representative(bucket)
    return None
