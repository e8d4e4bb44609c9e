-- Events that a projection could not apply, and the later events of their streams, which wait for them.

CREATE TABLE ticketing.dead_letters (
    projection text NOT NULL,
    position bigint NOT NULL,
    stream_id uuid NOT NULL,
    stream text NOT NULL,
    version bigint NOT NULL,
    topic text NOT NULL,
    error text,
    tries integer NOT NULL CHECK (tries >= 0),
    parked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    dropped_at timestamptz,
    dropped_by text,
    dropped_reason text,
    PRIMARY KEY (projection, position),
    CHECK ((dropped_at IS NULL) = (dropped_by IS NULL) AND (dropped_at IS NULL) = (dropped_reason IS NULL))
);
CREATE INDEX dead_letters_parked ON ticketing.dead_letters (projection, stream_id, position)
    WHERE dropped_at IS NULL;
COMMENT ON TABLE ticketing.dead_letters IS
    'Events that a projection has passed over: parked until they are retried, or dropped for good.';
COMMENT ON COLUMN ticketing.dead_letters.error IS
    'Why it could not be applied; null for one that was never tried, since it follows one that could not.';

ALTER TABLE ticketing.projection_checkpoints ADD COLUMN amended bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN ticketing.projection_checkpoints.amended IS
    'How often rows were changed behind the position: whoever reads only what is new reads all again.';

ALTER TABLE ticketing.worker_status ADD COLUMN since timestamptz NOT NULL DEFAULT clock_timestamp();
COMMENT ON COLUMN ticketing.worker_status.since IS 'When the worker told of itself for the first time.';
