"""Tests of what talks to the outside, against a real PostgreSQL."""
