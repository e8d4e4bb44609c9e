-- The topic that carries the log to the projections, and how far it has come. Without one, the log itself is
-- a topic of one partition.

CREATE TABLE ticketing.topic (
    name text NOT NULL,
    partitions integer NOT NULL CHECK (partitions > 0),
    position bigint NOT NULL DEFAULT 0 CHECK (position >= 0)
) WITH (fillfactor = 10);
CREATE UNIQUE INDEX topic_has_one_row ON ticketing.topic ((true));
COMMENT ON TABLE ticketing.topic IS 'The topic to which the log is published. It never gets other partitions.';
COMMENT ON COLUMN ticketing.topic.position IS 'The log up to it has been published.';

CREATE TABLE ticketing.topic_partitions (
    partition integer PRIMARY KEY,
    last_position bigint NOT NULL DEFAULT 0 CHECK (last_position >= 0)
) WITH (fillfactor = 10);
COMMENT ON TABLE ticketing.topic_partitions IS 'The partitions of the topic.';
COMMENT ON COLUMN ticketing.topic_partitions.last_position IS
    'The last event that was published to the partition: nothing of it stands from there up to the topic''s position.';

COMMENT ON TABLE ticketing.projection_checkpoints IS
    'Up to which position each projection has been applied, for each partition of the topic, or the one of the '
    'log; written in the transaction of its rows.';

CREATE VIEW ticketing.read_model_positions AS
SELECT projection, version, min(position) AS position, array_agg(position ORDER BY partition) AS positions,
       max(amended) AS amended
FROM ticketing.projection_checkpoints
GROUP BY projection, version;
COMMENT ON VIEW ticketing.read_model_positions IS 'Up to which position the read models show the log.';
