"""The timer that removes what is past its retention."""

import azure.functions as func

from shared.errors import ConfigurationError, ServiceError
from shared.service import DatabaseService


def blueprint(service: DatabaseService) -> func.Blueprint:
    """The function that removes what is past its retention, on the configured schedule."""
    functions = func.Blueprint()  # type: ignore[no-untyped-call]

    # The schedule is a value, not `%NAME%`: a function whose setting is missing would fail to index.
    @functions.timer_trigger(
        arg_name="timer", schedule=service.settings.retention_schedule, run_on_startup=False, use_monitor=True
    )
    async def retention(timer: func.TimerRequest) -> None:
        try:
            await service.run_retention(past_due=timer.past_due)
        except (ServiceError, ConfigurationError) as error:
            raise error from None  # the host logs the whole chain, and with it the driver's words

    return functions
