"""Benchmarks: what each operation costs, against the ceiling of HTTP in Python."""
