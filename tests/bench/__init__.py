"""Tests of the benchmarks: that what they compare does the same, and that their figures are what they say."""
