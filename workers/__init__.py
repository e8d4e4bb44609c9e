"""Processes that follow the log or the clock, and the supervisor that runs them."""
