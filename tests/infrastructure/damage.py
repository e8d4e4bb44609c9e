"""What can befall a stored event so that it is none any more: statements that take its position."""

from typing import LiteralString

NO_EVENT: LiteralString = """
    UPDATE ticketing.ticketing_events SET state = 'nothing' WHERE notification_id = %s
"""

NO_TEXT: LiteralString = r"""
    UPDATE ticketing.ticketing_events
    SET state = overlay(state PLACING '\xff'::bytea FROM length('{"stream":"s'))
    WHERE notification_id = %s
"""

NO_END: LiteralString = """
    UPDATE ticketing.ticketing_events
    SET state = convert_to(
        replace(convert_from(state, 'UTF8'), '"payload":', '"payload":' || repeat('[', 100000)), 'UTF8'
    )
    WHERE notification_id = %s
"""

NO_TIME_ZONE: LiteralString = """
    UPDATE ticketing.ticketing_events
    SET state = convert_to(replace(convert_from(state, 'UTF8'), 'Z","command_id"', '","command_id"'), 'UTF8')
    WHERE notification_id = %s
"""
