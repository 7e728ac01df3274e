-- name: create
CREATE TABLE {schema}.jobs (
  job           text PRIMARY KEY,
  client        text,
  escrow        text,
  state         text,
  tasks         bigint,
  replicas      bigint,
  price_msat    bigint,
  fee_msat      bigint,
  chain_msat    bigint,
  stake_msat    bigint,
  timeout_s     int,
  memory_mb     int,
  platforms     text,
  execution     text,
  program       text,
  work_key      text,
  original      text,
  posted_at     timestamptz,
  expires_at    timestamptz,
  completed_at  timestamptz,
  failed        bigint,
  assigned      bigint NOT NULL,
  committed     bigint NOT NULL,
  submitted     bigint NOT NULL,
  accepted      bigint NOT NULL,
  verified      bigint NOT NULL,
  rejected      bigint NOT NULL,
  expired       bigint NOT NULL,
  given_up      bigint NOT NULL,
  disputes      bigint NOT NULL,
  reserved_msat bigint NOT NULL,
  paid_msat     bigint NOT NULL,
  charged_msat  bigint NOT NULL,
  freed_msat    bigint NOT NULL,
  last_pos      bigint NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX ON {schema}.jobs (client, posted_at);
CREATE INDEX ON {schema}.jobs (posted_at);

-- name: upsert
INSERT INTO {schema}.jobs AS t
SELECT * FROM unnest(
  $1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
  $9::bigint[], $10::bigint[], $11::int[], $12::int[], $13::text[], $14::text[], $15::text[], $16::text[],
  $17::text[], $18::timestamptz[], $19::timestamptz[], $20::timestamptz[], $21::bigint[], $22::bigint[],
  $23::bigint[], $24::bigint[], $25::bigint[], $26::bigint[], $27::bigint[], $28::bigint[], $29::bigint[],
  $30::bigint[], $31::bigint[], $32::bigint[], $33::bigint[], $34::bigint[], $35::bigint[])
ON CONFLICT (job) DO UPDATE SET
  state = coalesce(excluded.state, t.state),
  original = coalesce(excluded.original, t.original),
  completed_at = coalesce(excluded.completed_at, t.completed_at),
  failed = coalesce(excluded.failed, t.failed),
  assigned = t.assigned + excluded.assigned,
  committed = t.committed + excluded.committed,
  submitted = t.submitted + excluded.submitted,
  accepted = t.accepted + excluded.accepted,
  verified = t.verified + excluded.verified,
  rejected = t.rejected + excluded.rejected,
  expired = t.expired + excluded.expired,
  given_up = t.given_up + excluded.given_up,
  disputes = t.disputes + excluded.disputes,
  reserved_msat = t.reserved_msat + excluded.reserved_msat,
  paid_msat = t.paid_msat + excluded.paid_msat,
  charged_msat = t.charged_msat + excluded.charged_msat,
  freed_msat = t.freed_msat + excluded.freed_msat,
  last_pos = excluded.last_pos

-- name: rows
SELECT * FROM {schema}.jobs
