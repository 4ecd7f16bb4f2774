"""Makes realistic records, the same every time, and data directories of a million of them in seconds.

A directory is written as segments, one file a day, and indexed by whoever opens it first.
"""

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from shared.backends.file import lines
from shared.histograms import buckets_of
from shared.ids import mint_id
from shared.models import ApiRequestLog, ImageGenerationTransaction, Record, SystemEventLog, UserSession
from shared.query import Hidden, Stored, WireRecord
from shared.timestamps import DAY_MS, day_of, from_ms, to_ms

END = "2026-01-01T00:00:00.000Z"
"""Where made time ends; the newest record is just before it."""

RARE_COMPONENT = "watchdog"
RECORDS_PER_SESSION = 20
_RARE_EVERY = 100_000
_PROMPTS = (
    "a fox reading a map, flat logo",
    "a minimalist mountain in two colours, for an outdoor shop",
    "coffee cup with rising steam shaped as a heart",
    "geometric owl, thin lines, dark blue on white",
    "friendly robot waving, rounded corners, app icon",
)
_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"

Fields = Callable[[int, random.Random], WireRecord]


def _session(number: int) -> str:
    return f"visit-{number // RECORDS_PER_SESSION:07d}"


def _transaction(number: int, chance: random.Random) -> WireRecord:
    prompt, status = _PROMPTS[number % len(_PROMPTS)], "failed" if chance.random() < 0.04 else "completed"
    generation = round(chance.lognormvariate(8.2, 0.4), 1)
    enhancement, processing = round(chance.lognormvariate(6.5, 0.5), 1), round(chance.lognormvariate(4.5, 0.3), 1)
    return {
        "sessionId": _session(number),
        "userIP": f"192.0.{number % 200}.0",
        "userAgent": _AGENT,
        "originalPrompt": prompt,
        "enhancedPrompt": f"{prompt}, clean vector shapes, strong silhouette, centred, plain background",
        "imageType": ("logo", "icon")[number % 3 == 0],
        "enhancePromptRequested": True,
        "status": status,
        "success": status == "completed",
        "processedFilename": f"image-{number:08d}.png",
        "fileSize": 40_000 + number % 90_000,
        "dimensions": {"width": 512, "height": 512},
        "totalDuration": round(generation + enhancement + processing, 1),
        "promptEnhancementDuration": enhancement,
        "imageGenerationDuration": generation,
        "imageProcessingDuration": processing,
        "apiModel": ("stable-diffusion-v1.3", "painter-3", "painter-3-mini")[number % 7 % 3],
        "llmModel": ("writer-2", "writer-2-mini")[number % 2],
    }


def _request(number: int, chance: random.Random) -> WireRecord:
    status = 500 if chance.random() < 0.01 else 404 if chance.random() < 0.03 else 200
    return {
        "sessionId": _session(number),
        "userIP": f"192.0.{number % 200}.0",
        "userAgent": _AGENT,
        "method": ("POST", "GET")[number % 2],
        "endpoint": ("/generate", "/images", "/models", "/health", "/upload")[number % 5],
        "requestHeaders": {"accept": "application/json", "content-type": "application/json"},
        "requestBody": {"prompt": _PROMPTS[number % len(_PROMPTS)], "imageType": "logo"},
        "statusCode": status,
        "duration": round(chance.lognormvariate(5, 1), 1),
        "errorOccurred": status >= 500,
    }


def _event(number: int, chance: random.Random) -> WireRecord:
    rare = number % _RARE_EVERY == _RARE_EVERY // 2
    return {
        "sessionId": _session(number),
        "eventType": ("model_loaded", "queue_drained", "cache_filled", "key_rotated")[number % 4],
        "component": RARE_COMPONENT if rare else ("generator", "enhancer", "storage")[number % 3],
        "level": chance.choices(("info", "debug", "warn", "error"), (80, 12, 6, 2))[0],
        "message": "The image model is ready to take prompts",
        "details": {"attempt": number % 3, "queue": number % 17, "host": f"worker-{number % 8}"},
        "environment": "production",
        "version": "1.2.3",
    }


def _visit(number: int, chance: random.Random) -> WireRecord:
    country = chance.choice(("NL", "DE", "JP", "BR"))
    return {"id": f"visit-{number:07d}", "userIP": "192.0.2.0", "userAgent": _AGENT, "country": country, "os": "Linux"}


_FIELDS: Mapping[type[Record], Fields] = {
    ImageGenerationTransaction: _transaction,
    ApiRequestLog: _request,
    SystemEventLog: _event,
    UserSession: _visit,
}


def make_records(model: type[Record], count: int, days: int, *, end: str = END, seed: int = 1) -> Iterator[Stored]:
    """Records evenly over the days before `end`, oldest first; another seed gives other ids."""
    chance, fields = random.Random(f"{model.__name__}-{seed}"), _FIELDS[model]
    last, step = to_ms(end), days * DAY_MS / count
    for number in range(count):
        moment = from_ms(int(last - (count - number) * step))
        content = fields(number, chance)
        record_id = content.get("id") or mint_id(moment, content.get("sessionId"), chance.randbytes)
        server = {"metadata": {}, "createdAt": moment, "updatedAt": moment}
        record = {"id": record_id, "timestamp": moment, **content, **server}
        digest = hashlib.sha256(record_id.encode()).hexdigest()
        yield Stored(record, Hidden(digest, "1-truncate-0123abcd", buckets_of(model, record)))


def build_directory(root: Path, counts: Mapping[type[Record], int], days: int) -> None:
    """Write the segments of a data directory that has so many records of each model."""
    for model, count in counts.items():
        folder = root / model.__name__
        folder.mkdir(parents=True, exist_ok=True)
        day, pending = "", list[bytes]()
        for stored in make_records(model, count, days):
            if day_of(stored.timestamp) != day:
                _append(folder, day, pending)
                day, pending = day_of(stored.timestamp), []
            pending.append(lines.encode_record(stored, 1))
        _append(folder, day, pending)


def _append(folder: Path, day: str, pending: list[bytes]) -> None:
    if pending:
        with (folder / f"{day}.jsonl").open("ab") as file:
            file.writelines(pending)


MIXTURE: Mapping[type[Record], float] = {
    ImageGenerationTransaction: 0.4,
    ApiRequestLog: 0.4,
    SystemEventLog: 0.15,
    UserSession: 0.05,
}


def mixture(count: int) -> dict[type[Record], int]:
    """How many of each model make a realistic mixture of `count` records."""
    return {model: int(count * share) for model, share in MIXTURE.items()}
