-- name: create
CREATE TABLE {schema}.escrows (
  escrow        text PRIMARY KEY,
  client        text,
  funded_msat   bigint NOT NULL,
  free_msat     bigint NOT NULL,
  reserved_msat bigint NOT NULL,
  released_msat bigint NOT NULL,
  charged_msat  bigint NOT NULL,
  refunded_msat bigint NOT NULL,
  fund_msat     bigint NOT NULL,
  last_pos      bigint NOT NULL
) WITH (fillfactor = 50);

-- name: upsert
INSERT INTO {schema}.escrows AS t
SELECT * FROM unnest(
  $1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
  $9::bigint[], $10::bigint[])
ON CONFLICT (escrow) DO UPDATE SET
  client = coalesce(excluded.client, t.client),
  funded_msat = t.funded_msat + excluded.funded_msat,
  free_msat = t.free_msat + excluded.free_msat,
  reserved_msat = t.reserved_msat + excluded.reserved_msat,
  released_msat = t.released_msat + excluded.released_msat,
  charged_msat = t.charged_msat + excluded.charged_msat,
  refunded_msat = t.refunded_msat + excluded.refunded_msat,
  fund_msat = t.fund_msat + excluded.fund_msat,
  last_pos = excluded.last_pos

-- name: rows
SELECT * FROM {schema}.escrows
