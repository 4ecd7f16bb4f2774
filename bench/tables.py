"""The results as Markdown: one table of the bars, one of how every figure grows with the records."""

from collections.abc import Iterable, Sequence

from bench.measure import Result


def bars_table(results: Sequence[Result], size: int | None) -> str:
    """What was measured at the largest size, against its bar."""
    rows = [
        (result.work, result.bar, "; ".join(_shown(*figure) for figure in result.figures.items()), _verdict(result))
        for result in results
        if result.records in (None, size)
    ]
    return _table(("work", "bar", "measured", ""), rows)


def growth_table(results: Sequence[Result]) -> str:
    """The first figures of everything at every size."""
    sizes = sorted({result.records for result in results if result.records is not None})
    by_name: dict[tuple[str, str], dict[int | None, float]] = {}
    for result in results:
        for name, value in result.figures.items():
            work = result.work if not result.work.startswith("page ") else "a page from the middle against page 1"
            by_name.setdefault((work, name), {})[result.records] = value
    rows = [
        (work, _label(name) or name, *(_cell(name, values, size) for size in sizes)) for (work, name), values in by_name.items()
    ]
    return _table(("work", "figure", *(f"{size:,}" for size in sizes)), rows)


def _cell(name: str, values: dict[int | None, float], size: int) -> str:
    value = values.get(size, values.get(None))
    return "" if value is None else _with_unit(name, value)


_UNITS = {"us": "µs", "ms": "ms", "s": "s", "mb": "MB", "ratio": "times", "count": ""}


def _shown(name: str, value: float) -> str:
    return f"{_label(name)} {_with_unit(name, value)}".strip()


def _label(name: str) -> str:
    label = name.removesuffix("_per_s") if name.endswith("_per_s") else name.rpartition("_")[0]
    return label.replace("_", " ")


def _with_unit(name: str, value: float) -> str:
    unit = "/s" if name.endswith("_per_s") else _UNITS.get(name.rpartition("_")[2], "")
    digits = 0 if abs(value) >= 100 or unit in ("/s", "") else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}{'' if unit in ('/s', '') else ' '}{unit}"


def _verdict(result: Result) -> str:
    return {True: "met", False: "missed", None: ""}[result.met]


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
