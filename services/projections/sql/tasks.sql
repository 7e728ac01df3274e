-- name: create
CREATE TABLE {schema}.tasks (
  job               text NOT NULL,
  task              int NOT NULL,
  replica           int NOT NULL,
  state             text,
  worker            text,
  price_msat        bigint,
  expires_at        timestamptz,
  reveal_by         timestamptz,
  commitment        text,
  result_address    text,
  result_offset     bigint,
  result_size       bigint,
  result_commitment text,
  result_salt       text,
  equality          text,
  method            text,
  reason            text,
  assigned_pos      bigint,
  attempts          int NOT NULL,
  paid_msat         bigint NOT NULL,
  last_pos          bigint NOT NULL,
  closed            boolean NOT NULL DEFAULT false,
  PRIMARY KEY (job, task, replica)
) WITH (fillfactor = 50);
CREATE INDEX ON {schema}.tasks (worker, assigned_pos);

-- name: upsert
INSERT INTO {schema}.tasks AS t
SELECT * FROM unnest(
  $1::text[], $2::int[], $3::int[], $4::text[], $5::text[], $6::bigint[], $7::timestamptz[], $8::timestamptz[],
  $9::text[], $10::text[], $11::bigint[], $12::bigint[], $13::text[], $14::text[], $15::text[], $16::text[],
  $17::text[], $18::bigint[], $19::int[], $20::bigint[], $21::bigint[])
ON CONFLICT (job, task, replica) DO UPDATE SET
  -- a new attempt starts the row afresh
  state = coalesce(excluded.state, t.state),
  worker = coalesce(excluded.worker, t.worker),
  price_msat = coalesce(excluded.price_msat, t.price_msat),
  expires_at = coalesce(excluded.expires_at, t.expires_at),
  reveal_by = CASE WHEN excluded.attempts > 0 THEN excluded.reveal_by ELSE t.reveal_by END,
  commitment = CASE WHEN excluded.attempts > 0 THEN excluded.commitment
               ELSE coalesce(excluded.commitment, t.commitment) END,
  result_address = CASE WHEN excluded.attempts > 0 THEN excluded.result_address
                   ELSE coalesce(excluded.result_address, t.result_address) END,
  result_offset = CASE WHEN excluded.attempts > 0 THEN excluded.result_offset
                  ELSE coalesce(excluded.result_offset, t.result_offset) END,
  result_size = CASE WHEN excluded.attempts > 0 THEN excluded.result_size
                ELSE coalesce(excluded.result_size, t.result_size) END,
  result_commitment = CASE WHEN excluded.attempts > 0 THEN excluded.result_commitment
                      ELSE coalesce(excluded.result_commitment, t.result_commitment) END,
  result_salt = CASE WHEN excluded.attempts > 0 THEN excluded.result_salt
                ELSE coalesce(excluded.result_salt, t.result_salt) END,
  equality = CASE WHEN excluded.attempts > 0 THEN excluded.equality ELSE coalesce(excluded.equality, t.equality) END,
  method = CASE WHEN excluded.attempts > 0 THEN excluded.method ELSE coalesce(excluded.method, t.method) END,
  reason = CASE WHEN excluded.attempts > 0 THEN excluded.reason ELSE coalesce(excluded.reason, t.reason) END,
  assigned_pos = coalesce(excluded.assigned_pos, t.assigned_pos),
  attempts = t.attempts + excluded.attempts,
  paid_msat = t.paid_msat + excluded.paid_msat,
  last_pos = excluded.last_pos

-- name: reveal
UPDATE {schema}.tasks AS t SET reveal_by = u.reveal_by, last_pos = greatest(t.last_pos, u.pos)
  FROM unnest($1::text[], $2::int[], $3::timestamptz[], $4::bigint[]) AS u (job, task, reveal_by, pos)
 WHERE t.job = u.job AND t.task = u.task AND t.assigned_pos < u.pos

-- name: close
UPDATE {schema}.tasks AS t SET closed = true, last_pos = greatest(t.last_pos, u.pos)
  FROM unnest($1::text[], $2::int[], $3::bigint[]) AS u (job, task, pos)
 WHERE t.job = u.job AND t.task = u.task

-- name: rows
SELECT * FROM {schema}.tasks
