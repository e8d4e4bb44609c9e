-- The plain tables beside the log. What is in them is written in the transaction of the events that it
-- belongs to, or can be lost without losing a decision.

CREATE TABLE ticketing.log_identity (
    epoch uuid NOT NULL
);
CREATE UNIQUE INDEX log_identity_has_one_row ON ticketing.log_identity ((true));
INSERT INTO ticketing.log_identity (epoch) VALUES (gen_random_uuid());
COMMENT ON TABLE ticketing.log_identity IS
    'Which log this is. A log that was restored from a backup gets a new epoch: its positions mean other events.';

CREATE TABLE ticketing.users (
    user_id uuid PRIMARY KEY,
    name text
);
COMMENT ON TABLE ticketing.users IS
    'The names of people, which never enter the log, so that they can be erased (name is null then).';

CREATE TABLE ticketing.command_outcomes (
    caller text NOT NULL,
    key text NOT NULL,
    request bytea NOT NULL,
    reply bytea NOT NULL,
    position bigint NOT NULL,
    command_id uuid NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (caller, key)
);
CREATE INDEX command_outcomes_by_age ON ticketing.command_outcomes (recorded_at);
COMMENT ON TABLE ticketing.command_outcomes IS
    'The first outcome of each command with an idempotency key, kept for 24 hours (rules I1 and I2).';
COMMENT ON COLUMN ticketing.command_outcomes.caller IS 'A user id, or admin: keys of different callers are different.';
COMMENT ON COLUMN ticketing.command_outcomes.request IS 'The fingerprint of the request that the key was used for.';
COMMENT ON COLUMN ticketing.command_outcomes.reply IS 'What was answered, without names and signed tokens.';
COMMENT ON COLUMN ticketing.command_outcomes.position IS 'The Log-Position that was answered.';

CREATE TABLE ticketing.snapshots (
    stream_id uuid PRIMARY KEY,
    version bigint NOT NULL,
    position bigint NOT NULL,
    shape text NOT NULL,
    state bytea NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE ticketing.snapshots IS
    'The states of long streams, so that they need not be read from their beginning. Can be removed at any time.';
COMMENT ON COLUMN ticketing.snapshots.version IS 'The version of the stream''s last event that the state includes.';
COMMENT ON COLUMN ticketing.snapshots.position IS 'That event''s position in the log.';
COMMENT ON COLUMN ticketing.snapshots.shape IS 'What the state looks like: code with another shape passes over it.';

-- Rows that are rewritten all the time leave room in their pages, so that no index has to follow them.
CREATE TABLE ticketing.heard (
    token_id uuid PRIMARY KEY,
    last_heard_at timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE ticketing.heard IS 'When the owner of each token was last heard from (rule Q8).';

CREATE TABLE ticketing.hearing (
    process_id uuid PRIMARY KEY,
    since timestamptz NOT NULL,
    beat_at timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE ticketing.hearing IS
    'The API processes that listen: since when without a gap, and when they last said so (rule Q8).';

CREATE TABLE ticketing.worker_status (
    role text NOT NULL,
    process_id uuid NOT NULL,
    beat_at timestamptz NOT NULL,
    facts jsonb NOT NULL,
    PRIMARY KEY (role, process_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE ticketing.worker_status IS 'What each worker told last about itself.';
