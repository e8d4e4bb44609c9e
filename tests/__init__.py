"""Tests: they mirror the source, and prove the rules in the rules' own words."""
