-- name: create
CREATE TABLE {schema}.workers (
  worker         text PRIMARY KEY,
  state          text,
  platform       text,
  cores          bigint,
  memory_mb      bigint,
  jax_version    text,
  asking         boolean,
  ask_msat       bigint,
  slots          bigint,
  ask_memory_mb  bigint,
  tflop_msat     bigint,
  gb_msat        bigint,
  flops_per_s    bigint,
  bytes_per_s    bigint,
  registered_at  timestamptz,
  assigned       bigint NOT NULL,
  open           bigint NOT NULL,
  verified       bigint NOT NULL,
  rejected       bigint NOT NULL,
  failed         bigint NOT NULL,
  expired        bigint NOT NULL,
  returned       bigint NOT NULL,
  earned_msat    bigint NOT NULL,
  deposited_msat bigint NOT NULL,
  slashed_msat   bigint NOT NULL,
  withdrawn_msat bigint NOT NULL,
  stake_msat     bigint NOT NULL,
  last_pos       bigint NOT NULL
) WITH (fillfactor = 50);

-- name: upsert
INSERT INTO {schema}.workers AS t
SELECT * FROM unnest(
  $1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::boolean[], $8::bigint[],
  $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::timestamptz[],
  $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[], $22::bigint[],
  $23::bigint[], $24::bigint[], $25::bigint[], $26::bigint[], $27::bigint[], $28::bigint[])
ON CONFLICT (worker) DO UPDATE SET
  state = coalesce(excluded.state, t.state),
  platform = coalesce(excluded.platform, t.platform),
  cores = coalesce(excluded.cores, t.cores),
  memory_mb = coalesce(excluded.memory_mb, t.memory_mb),
  jax_version = coalesce(excluded.jax_version, t.jax_version),
  asking = coalesce(excluded.asking, t.asking),
  ask_msat = coalesce(excluded.ask_msat, t.ask_msat),
  slots = coalesce(excluded.slots, t.slots),
  ask_memory_mb = coalesce(excluded.ask_memory_mb, t.ask_memory_mb),
  tflop_msat = coalesce(excluded.tflop_msat, t.tflop_msat),
  gb_msat = coalesce(excluded.gb_msat, t.gb_msat),
  flops_per_s = coalesce(excluded.flops_per_s, t.flops_per_s),
  bytes_per_s = coalesce(excluded.bytes_per_s, t.bytes_per_s),
  registered_at = coalesce(excluded.registered_at, t.registered_at),
  assigned = t.assigned + excluded.assigned,
  open = t.open + excluded.open,
  verified = t.verified + excluded.verified,
  rejected = t.rejected + excluded.rejected,
  failed = t.failed + excluded.failed,
  expired = t.expired + excluded.expired,
  returned = t.returned + excluded.returned,
  earned_msat = t.earned_msat + excluded.earned_msat,
  deposited_msat = t.deposited_msat + excluded.deposited_msat,
  slashed_msat = t.slashed_msat + excluded.slashed_msat,
  withdrawn_msat = t.withdrawn_msat + excluded.withdrawn_msat,
  stake_msat = t.stake_msat + excluded.stake_msat,
  last_pos = excluded.last_pos

-- name: rows
SELECT * FROM {schema}.workers
