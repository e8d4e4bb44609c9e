"""Tests of what can be asked for: every command, decided by its real handler on a log in memory."""
