-- What the projections share. Their own tables are in schemas of their own, one for each version.

CREATE TABLE ticketing.projection_schemas (
    projection text NOT NULL,
    version integer NOT NULL,
    checksum text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (projection, version)
);
COMMENT ON TABLE ticketing.projection_schemas IS 'The versions of projections whose tables have been made.';
COMMENT ON COLUMN ticketing.projection_schemas.checksum IS
    'SHA-256 of the SQL that made the tables: other tables are another version.';

CREATE TABLE ticketing.projection_checkpoints (
    projection text NOT NULL,
    version integer NOT NULL,
    partition integer NOT NULL,
    position bigint NOT NULL CHECK (position >= 0),
    PRIMARY KEY (projection, version, partition)
) WITH (fillfactor = 10);
COMMENT ON TABLE ticketing.projection_checkpoints IS
    'Up to which position each projection has been applied; written in the transaction of its rows.';
