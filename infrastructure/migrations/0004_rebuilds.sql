-- A read model can be made anew from the log, and take the place of the one that is read.

ALTER TABLE ticketing.projection_schemas RENAME COLUMN created_at TO in_service_since;
COMMENT ON TABLE ticketing.projection_schemas IS
    'The versions of projections that can be read. Whoever reads some with several statements of one snapshot '
    'locks this table first (ACCESS SHARE): no rebuilt one takes its place until that snapshot has ended.';
COMMENT ON COLUMN ticketing.projection_schemas.in_service_since IS
    'Since when these very tables are the ones that are read: it changes when rebuilt ones take their place.';
