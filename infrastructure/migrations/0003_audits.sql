CREATE TABLE ticketing.audits (
    audit_id uuid PRIMARY KEY,
    requested_at timestamptz NOT NULL,
    at timestamptz,
    status text NOT NULL CHECK (status IN ('RUNNING', 'DONE', 'FAILED')),
    progress double precision NOT NULL CHECK (progress BETWEEN 0 AND 1),
    report jsonb CHECK (status <> 'DONE' OR report IS NOT NULL)
);
COMMENT ON TABLE ticketing.audits IS
    'The audits that operators asked for. One that says RUNNING while no process audits has FAILED.';
COMMENT ON COLUMN ticketing.audits.at IS 'Up to when the log is replayed; null for all of it.';
