-- name: create
CREATE TABLE {schema}.event_index (
  key       text NOT NULL,
  first_pos bigint NOT NULL,
  positions bigint[] NOT NULL,
  PRIMARY KEY (key, first_pos)
);

-- name: upsert
INSERT INTO {schema}.event_index
SELECT key, first_pos, positions::bigint[]
  FROM unnest($1::text[], $2::bigint[], $3::text[]) AS u (key, first_pos, positions)

-- name: rows
SELECT key, position FROM {schema}.event_index, unnest(positions) AS position
