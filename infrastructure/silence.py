"""Who has been silent for so long that their token may be cancelled (rule Q8).

What is found here is a suggestion: the command that cancels reads the same tables again in its batch.
"""

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

import msgspec
from psycopg import AsyncConnection

from aggregates.ids import ConcertCode, TokenId, UserId
from commands.abandon_token import ALLOWANCE_S
from projections.queue import PROJECTION
from projections.reading import Found, find_all

SILENT_WAITING: LiteralString = """
    SELECT token.token_id, token.code, token.user_id
    FROM {schema}.tokens AS token
    LEFT JOIN ticketing.heard USING (token_id)
    CROSS JOIN (
        SELECT min(beat_at) AS oldest_beat_at, max(since) AS since
        FROM ticketing.hearing
    ) AS listening
    WHERE token.code = %(code)s
        AND token.queue_number > %(after)s
        AND token.queue_number <= %(last)s
        AND token.status = 'WAITING'
        AND listening.oldest_beat_at > statement_timestamp() - make_interval(secs => %(allowance_s)s)
        AND listening.since <= statement_timestamp() - make_interval(secs => %(allowed_s)s)
        AND greatest(token.issued_at, heard.last_heard_at, listening.since)
            <= statement_timestamp() - make_interval(secs => %(allowed_s)s + %(allowance_s)s)
    ORDER BY token.queue_number
"""

SILENT_ACTIVE: LiteralString = """
    SELECT token.token_id, token.code, token.user_id
    FROM unnest(%(codes)s::text[], %(allowed_s)s::int[]) AS wanted (code, allowed_s)
    JOIN {schema}.tokens AS token ON token.code = wanted.code AND token.status = 'ACTIVE'
    LEFT JOIN ticketing.heard USING (token_id)
    CROSS JOIN (
        SELECT min(beat_at) AS oldest_beat_at, max(since) AS since
        FROM ticketing.hearing
    ) AS listening
    WHERE listening.oldest_beat_at > statement_timestamp() - make_interval(secs => %(allowance_s)s)
        AND greatest(token.activated_at, heard.last_heard_at, listening.since)
            <= statement_timestamp() - make_interval(secs => wanted.allowed_s + %(allowance_s)s)
    ORDER BY token.code, token.queue_number
"""


class SilentToken(msgspec.Struct, frozen=True):
    """A token whose owner has not been heard from for longer than the policy allows."""

    token_id: TokenId
    code: ConcertCode
    user_id: UserId


async def silent_waiting(
    connection: AsyncConnection[Any], code: ConcertCode, allowed_s: int, after: int, last: int
) -> Found[Sequence[SilentToken]]:
    """Return the silent ones of those who wait with the numbers beyond `after`, up to `last`."""
    parameters = {
        "code": code,
        "after": after,
        "last": last,
        "allowed_s": allowed_s,
        "allowance_s": ALLOWANCE_S,
    }
    return await find_all(connection, PROJECTION, SILENT_WAITING, parameters, SilentToken)


async def silent_active(
    connection: AsyncConnection[Any], allowed_s: Mapping[ConcertCode, int]
) -> Found[Sequence[SilentToken]]:
    """Return the silent ones of those who are active in these concerts."""
    parameters = {
        "codes": list(allowed_s),
        "allowed_s": list(allowed_s.values()),
        "allowance_s": ALLOWANCE_S,
    }
    return await find_all(connection, PROJECTION, SILENT_ACTIVE, parameters, SilentToken)
