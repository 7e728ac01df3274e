-- name: create
CREATE TABLE {schema}.programs (
  program         text PRIMARY KEY,
  identity        text,
  platforms       text,
  jax_version     text,
  flops           bigint,
  transcendentals bigint,
  bytes_moved     bigint,
  memory_bytes    bigint,
  input_bytes     bigint,
  output_bytes    bigint,
  admitted_at     timestamptz,
  jobs            bigint NOT NULL,
  last_pos        bigint NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX ON {schema}.programs (identity);

-- name: upsert
INSERT INTO {schema}.programs AS t
SELECT * FROM unnest(
  $1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
  $9::bigint[], $10::bigint[], $11::timestamptz[], $12::bigint[], $13::bigint[])
ON CONFLICT (program) DO UPDATE SET
  jobs = t.jobs + excluded.jobs,
  last_pos = excluded.last_pos

-- name: rows
SELECT * FROM {schema}.programs
