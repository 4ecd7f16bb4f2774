"""NCRONTAB, the schedules of timer functions: second minute hour day month weekday, in UTC. The arithmetic is cronsim's."""

import calendar
import re
from datetime import datetime

from cronsim import CronSim, CronSimError

_NAMES = frozenset(name.upper() for name in (*calendar.month_name, *calendar.day_name))
_TERM = r"(?:\*|(?:\d+|[A-Z]{3})(?:-(?:\d+|[A-Z]{3}))?)(?:/\d+)?"
_FIELD = re.compile(rf"{_TERM}(?:,{_TERM})*", re.ASCII)
_SEVENTH_DAY = re.compile(r"(?<![/\d])7(?!\d)")
_FIELDS = 6
_WEEKDAY = 5


class Schedule:
    """When a timer runs. Raises ValueError for an expression that is not one the real host takes."""

    __slots__ = ("expression",)

    def __init__(self, expression: str) -> None:
        fields = [_with_short_names(field) for field in expression.upper().split()]
        if len(fields) == _FIELDS - 1:
            fields.insert(0, "0")
        if len(fields) != _FIELDS:
            raise ValueError(f"{expression!r} is not six fields: second minute hour day month weekday, such as 0 30 3 * * *")
        for field in fields:
            if _FIELD.fullmatch(field) is None:
                raise ValueError(f"{expression!r} is not a schedule: {field!r} is not NCRONTAB")
        if _SEVENTH_DAY.search(fields[_WEEKDAY]):
            raise ValueError(f"{expression!r} is not a schedule: a weekday is 0 (Sunday) to 6 or a name")
        self.expression = " ".join(fields)
        try:
            CronSim(self.expression, datetime(2024, 1, 1))  # noqa: DTZ001 - only parsed
        except CronSimError as error:
            raise ValueError(f"{expression!r} is not a schedule: {str(error).lower()}") from None

    def after(self, moment: datetime) -> datetime | None:
        """The first occurrence later than an aware UTC moment; None where there is none in fifty years."""
        occurrences = CronSim(self.expression, moment)
        occurrences.day_and = True  # cron takes either day field, NCRONTAB asks for both
        return next(occurrences, None)

    @property
    def is_sub_minute(self) -> bool:
        """Whether it recurs within every minute: the host keeps no status for such a timer."""
        second, *others = self.expression.split()
        return others == ["*"] * (_FIELDS - 1) and not second.isdigit()


def _with_short_names(field: str) -> str:
    return re.sub("[A-Z]{4,}", lambda match: match[0][:3] if match[0] in _NAMES else match[0], field)
