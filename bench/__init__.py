"""Benchmarks: what each operation costs, against the ceiling and the plain way."""
