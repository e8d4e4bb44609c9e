-- The history of the log's restores. It takes the place of `log_identity`, which knew of the last one only.

CREATE TABLE ticketing.log_epochs (
    number integer PRIMARY KEY,
    epoch uuid NOT NULL UNIQUE,
    began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    after_position bigint NOT NULL,
    after_recorded_at timestamptz,
    first_position bigint NOT NULL CHECK (first_position > after_position),
    whereabouts jsonb NOT NULL
);
COMMENT ON TABLE ticketing.log_epochs IS
    'A log that was restored from a backup, or has failed over, goes on in a new epoch: what it had recorded after the backup is lost.';
COMMENT ON COLUMN ticketing.log_epochs.after_position IS
    'The last event before this epoch. Of the epochs before, everything up to it is in the log, and nothing else.';
COMMENT ON COLUMN ticketing.log_epochs.after_recorded_at IS 'When that event was recorded; null where there was none.';
COMMENT ON COLUMN ticketing.log_epochs.first_position IS
    'Where the positions of this epoch begin: beyond any that was ever given to an event that is lost.';
COMMENT ON COLUMN ticketing.log_epochs.whereabouts IS
    'Where this epoch''s log is kept, as far as it was to be seen: a log that finds itself elsewhere was restored.';

INSERT INTO ticketing.log_epochs (number, epoch, after_position, first_position, whereabouts)
SELECT 1, epoch, 0, 1, '{}'
FROM ticketing.log_identity;

DROP TABLE ticketing.log_identity;

CREATE FUNCTION ticketing.whereabouts() RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    seen jsonb;
BEGIN
    SELECT jsonb_build_object('database', oid, 'table', to_regclass('ticketing.ticketing_events')::oid)
    INTO seen
    FROM pg_database
    WHERE datname = current_database();
    BEGIN
        SELECT seen || jsonb_build_object('cluster', system_identifier::text) INTO seen FROM pg_control_system();
        seen := seen || jsonb_build_object('timeline', left(pg_walfile_name(pg_current_wal_lsn()), 8));
    EXCEPTION WHEN insufficient_privilege OR feature_not_supported OR object_not_in_prerequisite_state THEN
        NULL; -- some hosts do not tell
    END;
    BEGIN
        seen := seen || jsonb_build_object(
            'base_backup', md5(coalesce(pg_read_file('backup_label.old', 0, 10000, true), ''))
        );
    EXCEPTION WHEN insufficient_privilege OR feature_not_supported THEN
        NULL; -- for superusers alone
    END;
    RETURN seen;
END
$$;
COMMENT ON FUNCTION ticketing.whereabouts() IS
    'Where the log is kept: a dump is restored into other tables; a base backup leaves its label, or begins a timeline.';

CREATE FUNCTION ticketing.log_has_moved() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT
        FROM (SELECT whereabouts FROM ticketing.log_epochs ORDER BY number DESC LIMIT 1) AS current_epoch
        CROSS JOIN jsonb_each(current_epoch.whereabouts) AS was
        JOIN jsonb_each(ticketing.whereabouts()) AS now USING (key)
        WHERE was.value <> now.value
    )
$$;
COMMENT ON FUNCTION ticketing.log_has_moved() IS
    'Whether the log is kept elsewhere than when its epoch began: then what follows is of a new one.';
