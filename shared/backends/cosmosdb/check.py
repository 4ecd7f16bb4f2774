"""What the account has against what the code expects, in words."""

from dataclasses import dataclass, field

from shared.backends.cosmosdb.access import read_access
from shared.backends.cosmosdb.client import Connection, opened
from shared.backends.cosmosdb.definitions import by_container, differences
from shared.config import Settings


@dataclass(slots=True)
class Report:
    """Lines for whoever asked; `differs` when a container is missing or is not as expected."""

    lines: list[str] = field(default_factory=list)
    differs: bool = False


async def check(settings: Settings) -> Report:
    """Compare each container's definition. Raises ConfigurationError and TransientError; makes nothing."""
    access = read_access(settings)
    report = Report([f"account {access.endpoint}, database {settings.database_name}"])
    async with opened(Connection(access, settings.database_name, settings.cosmos_buckets)) as connection:
        for name, model in by_container().items():
            properties = await connection.properties(model)
            found = ["it is missing"] if properties is None else differences(model, properties, settings.cosmos_buckets)
            report.differs = report.differs or bool(found)
            report.lines.append(f"{name}: {'as expected' if not found else 'differs'}")
            report.lines += [f"  {difference}" for difference in found]
    return report
