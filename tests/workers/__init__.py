"""Tests of the workers: real PostgreSQL, real time, real processes where they are killed."""
