"""Sessions without a database: what a process remembers, and the documents that records imply."""

from shared.models import UserSession
from shared.query import Stored
from shared.sessions import DERIVED, IMPLICIT_HASH, SeenSessions, alive_until, derived_hash, implied_session

NOW = "2024-06-15T12:00:00.000Z"


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_seen_session_is_forgotten_after_its_time() -> None:
    """What another process deleted is made again soon."""
    clock = Clock()
    seen = SeenSessions(seconds=600, clock=clock)
    seen.add("one")
    clock.seconds = 599
    assert "one" in seen
    clock.seconds = 600
    assert "one" not in seen


def test_only_so_many_sessions_are_remembered() -> None:
    """The ones that were seen longest ago make room."""
    seen = SeenSessions(limit=2, clock=Clock())
    for session_id in ("one", "two", "one", "three"):
        seen.add(session_id)
    assert [session_id in seen for session_id in ("one", "two", "three")] == [True, False, True]


def test_a_deleted_session_is_forgotten_at_once() -> None:
    """A process does not take a session for stored that it has just deleted."""
    seen = SeenSessions(clock=Clock())
    seen.add("one")
    seen.discard("one")
    seen.discard("never")
    assert "one" not in seen


def test_a_record_implies_a_session_with_its_own_visitor_and_time() -> None:
    """The document has the record's anonymised address, agent and timestamp, and waits for its content."""
    record = {"id": "r", "sessionId": "s", "timestamp": "2024-06-01T00:00:00.000Z", "userIP": "192.0.2.0", "status": "failed"}
    implied = implied_session(record, NOW)
    assert implied.record == {
        "id": "s",
        "timestamp": "2024-06-01T00:00:00.000Z",
        "userIP": "192.0.2.0",
        "metadata": {},
        "createdAt": NOW,
        "updatedAt": NOW,
    }
    assert implied.hidden.content_hash == IMPLICIT_HASH


def test_derived_fields_are_what_the_model_calls_the_server_s() -> None:
    """Each derived field is a server-set field of the model, and none is forgotten."""
    assert set(DERIVED) == UserSession.server_set - {"createdAt", "updatedAt"}


def test_a_session_lives_until_the_later_of_itself_and_its_records() -> None:
    """A session made today for old records is not past its retention today."""
    session = Stored({"id": "s", "timestamp": NOW})
    assert alive_until(session, {"lastActivity": "2020-01-01T00:00:00.000Z"}) == NOW
    assert alive_until(session, {"lastActivity": "2025-01-01T00:00:00.000Z"}) == "2025-01-01T00:00:00.000Z"


def test_another_counter_makes_another_hash() -> None:
    """The hash tells whether any derived field has changed."""
    one = dict.fromkeys(DERIVED, 1)
    assert derived_hash(one) == derived_hash(dict(reversed(one.items())))
    assert derived_hash(one) != derived_hash({**one, "apiRequests": 2})


def test_a_session_is_trusted_for_a_minute() -> None:
    """Another instance may have deleted it since."""
    clock = Clock()
    seen = SeenSessions(clock=clock)
    seen.add("s")
    clock.seconds += 59
    assert "s" in seen
    clock.seconds += 2
    assert "s" not in seen
