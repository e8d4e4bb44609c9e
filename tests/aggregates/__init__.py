"""Decisions and states of the aggregates, one module for each."""
