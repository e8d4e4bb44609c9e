"""Everything that talks to the outside: settings, event log, PostgreSQL, feeds, telemetry."""
