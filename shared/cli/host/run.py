"""The life of the host: bind, load, serve, and stop so that nothing in hand is lost."""

import asyncio
import inspect
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from aiohttp import web
from azure.functions.timer import TimerRequest

from shared.cli.errors import CommandError
from shared.cli.host.admin import Admin
from shared.cli.host.app import App, LoadedFunction, find_root, load
from shared.cli.host.banner import functions_banner
from shared.cli.host.bindings import TimerTrigger
from shared.cli.host.invoke import Invoker, TimedOutError
from shared.cli.host.server import HttpHost
from shared.cli.host.timers import StatusFile, Timer, utc_now
from shared.cli.logs import configure_logging
from shared.ncrontab import Schedule

logger = logging.getLogger("shared.host")

STATE_FOLDER = ".serve"
BACKLOG = 1024
_SHOWN_AS_LOCALHOST = frozenset({"127.0.0.1", "0.0.0.0", "::1", "::"})  # noqa: S104 - what to print, not to bind


@dataclass(frozen=True, slots=True)
class Options:
    """`root` None is looked for from the working folder upwards; `state` None is below the root."""

    host: str
    port: int
    root: Path | None
    state: Path | None
    grace_seconds: float
    verbose: bool


def serve(options: Options) -> int:
    """Serve until a signal stops it; the exit code. Raises CommandError, ConfigurationError where it can't start."""
    configure_logging(requests=options.verbose)
    state = options.state.resolve() if options.state else None
    with _bind(options.host, options.port) as listener:
        app = load(options.root.resolve() if options.root else find_root(Path.cwd()), os.environ)
        invoker = Invoker(app.timeout_seconds)
        code = asyncio.run(_serve(app, invoker, listener, state or app.root / STATE_FOLDER, options))
    if invoker.close():
        logger.warning("a function's thread is still running and is left")
        sys.stdout.flush()
        os._exit(code)
    return code


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise CommandError(f"{host!r} is not an address to listen on: {error.strerror}") from None
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise CommandError(
            f"can't listen on {host} port {port}: {(error.strerror or str(error)).lower()};"
            f" stop what uses it or choose another port with --port"
        ) from None
    return listener


async def _serve(app: App, invoker: Invoker, listener: socket.socket, state: Path, options: Options) -> int:
    await _initialize_service(app.module)
    stop = asyncio.Event()
    _stop_on_signals(stop)
    port = listener.getsockname()[1]
    url = f"http://{'localhost' if options.host in _SHOWN_AS_LOCALHOST else options.host}:{port}"
    timers = [_timer(loaded, invoker, state) for loaded in app.functions if isinstance(loaded.function.trigger, TimerTrigger)]
    admin = Admin(app, {timer.name: timer.run_now for timer in timers}, url)
    host = HttpHost(app, invoker, admin, log_requests=options.verbose)
    runner = web.ServerRunner(host.server(), shutdown_timeout=options.grace_seconds)
    await runner.setup()
    await web.SockSite(runner, listener, backlog=BACKLOG).start()
    print(functions_banner(app, url, utc_now()))
    print(f"\nListening on {url} (address {options.host}). Press Ctrl+C to stop.", flush=True)
    for timer in timers:
        timer.start()
    await stop.wait()
    print("\nStopping: finishing what is in hand. Press Ctrl+C again to end at once.", flush=True)
    await _finish([runner.cleanup(), *(timer.stop() for timer in timers)], options.grace_seconds)
    return await _close_service(app.module, options.grace_seconds)


def _stop_on_signals(stop: asyncio.Event) -> None:
    """The first signal stops gracefully, the second ends the process."""

    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, on_signal, number)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda number, _: loop.call_soon_threadsafe(on_signal, number))


async def _finish(work: list[Awaitable[None]], seconds: float) -> None:
    tasks = [asyncio.ensure_future(one) for one in work]
    done, pending = await asyncio.wait(tasks, timeout=seconds)
    if pending:
        logger.warning("requests or timers were not done in time and are cut off", extra={"seconds": seconds})
    for task in pending:
        task.cancel()
    for task in done:
        task.result()


async def _initialize_service(module: ModuleType) -> None:
    """Connect before anything is served, so that a wrong setting stops the start rather than every request."""
    from shared.errors import ServiceError  # noqa: PLC0415 - the app's own, now that its folder is on the path

    initialize = getattr(getattr(module, "service", None), "initialize", None)
    if initialize is None:
        return
    try:
        starting = initialize()
        if inspect.isawaitable(starting):
            await starting
    except ServiceError as error:
        raise CommandError(f"the service can't start: {error.message}") from None


async def _close_service(module: ModuleType, seconds: float) -> int:
    close = getattr(getattr(module, "service", None), "close", None)
    if close is None:
        return 0
    try:
        closing = close()
        if inspect.isawaitable(closing):
            await asyncio.wait_for(closing, seconds)
    except Exception:
        logger.exception("the service failed to close")
        return 1
    return 0


def _timer(loaded: LoadedFunction, invoker: Invoker, state: Path) -> Timer:
    name, trigger = loaded.function.name, loaded.function.trigger
    assert isinstance(trigger, TimerTrigger)

    async def invoke(request: TimerRequest) -> None:
        try:
            await invoker(loaded, request)
        except TimedOutError as error:
            logger.error("function timed out: %s", error, extra={"function": name})  # noqa: TRY400
        except Exception:
            logger.exception("function failed", extra={"function": name})
        else:
            logger.info("timer ran", extra={"function": name, "past_due": request.past_due})

    schedule = Schedule(trigger.schedule)
    is_monitored = trigger.use_monitor and not schedule.is_sub_minute
    return Timer(
        name,
        schedule,
        invoke,
        run_on_startup=trigger.run_on_startup,
        status_file=StatusFile(state / "timers", name) if is_monitored else None,
    )
