"""Replays the log, and nothing but the log, into totals and breaches of the rules."""
