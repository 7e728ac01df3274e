-- name: create
CREATE TABLE {schema}.chain (
  name          text PRIMARY KEY,
  network       text,
  joined_height bigint,
  joined_pos    bigint,
  confirmations bigint,
  arbiter       text,
  market_key    text,
  arbiter_key   text,
  market_script text,
  height        bigint,
  block         text,
  moved_at      timestamptz NOT NULL,
  reorgs        bigint NOT NULL,
  last_pos      bigint NOT NULL
) WITH (fillfactor = 10);
CREATE TABLE {schema}.terms (
  script         text PRIMARY KEY,
  key            text NOT NULL,
  account        text NOT NULL,
  owner          text NOT NULL,
  expires_height bigint NOT NULL,
  paid_to        text NOT NULL,
  release_key    text NOT NULL,
  refund_key     text NOT NULL,
  market_key     text NOT NULL,
  arbiter_key    text NOT NULL,
  opened_pos     bigint NOT NULL
);
CREATE INDEX ON {schema}.terms (key, opened_pos);
CREATE INDEX ON {schema}.terms (paid_to);
CREATE TABLE {schema}.accounts (
  key            text PRIMARY KEY,
  account        text NOT NULL,
  owner          text NOT NULL,
  script         text,
  expires_height bigint,
  paid_to        text,
  release_key    text,
  refund_key     text,
  market_key     text,
  arbiter_key    text,
  terms          bigint NOT NULL,
  deposited_msat bigint NOT NULL,
  drawing_msat   bigint NOT NULL,
  drawn_msat     bigint NOT NULL,
  returning_msat bigint NOT NULL,
  returned_msat  bigint NOT NULL,
  rewarding_msat bigint NOT NULL,
  rewarded_msat  bigint NOT NULL,
  last_pos       bigint NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE {schema}.coins (
  outpoint  text PRIMARY KEY,
  key       text NOT NULL,
  value_sat bigint NOT NULL,
  height    bigint NOT NULL,
  script    text,
  term      bigint,
  epoch     bigint NOT NULL,
  state     text NOT NULL,
  said_pos  bigint NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX ON {schema}.coins (key) WHERE state IN ('held', 'lost');
CREATE TABLE {schema}.payouts (
  epoch          bigint PRIMARY KEY,
  state          text,
  planned_height bigint,
  rate_msat      bigint,
  fees_sat       bigint[],
  fund_sat       bigint,
  market_sat     bigint,
  reserve_sat    bigint,
  first_key      text,
  inputs         bigint,
  input_sat      bigint,
  size           bigint,
  root           text,
  receipts       text,
  anchor         text,
  previous       text,
  planned_at     timestamptz,
  planned_pos    bigint,
  txid           text,
  fee_sat        bigint,
  sent_at        timestamptz,
  objection      text,
  height         bigint,
  block          text,
  confirmed_at   timestamptz,
  confirmed_pos  bigint,
  payees         bigint NOT NULL,
  rewards_sat    bigint NOT NULL,
  refunds_sat    bigint NOT NULL,
  stakes_sat     bigint NOT NULL,
  borne_vb       bigint[] NOT NULL,
  sendings       bigint NOT NULL,
  last_pos       bigint NOT NULL,
  saved_sat      bigint NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE {schema}.payments (
  epoch      bigint NOT NULL,
  due        text NOT NULL,
  owner      text NOT NULL,
  key        text NOT NULL,
  amount_sat bigint NOT NULL,
  borne_vb   bigint NOT NULL,
  script     text NOT NULL,
  jobs       bigint NOT NULL,
  PRIMARY KEY (epoch, due, owner)
);
CREATE INDEX ON {schema}.payments (owner, epoch);
CREATE TABLE {schema}.draws (
  epoch      bigint NOT NULL,
  place      bigint NOT NULL,
  key        text NOT NULL,
  account    text NOT NULL,
  owner      text NOT NULL,
  coins      text[] NOT NULL,
  coins_sat  bigint NOT NULL,
  due_sat    bigint NOT NULL,
  pool_sat   bigint NOT NULL,
  change_sat bigint NOT NULL,
  script     text NOT NULL,
  change     bigint,
  PRIMARY KEY (epoch, place)
);
CREATE INDEX ON {schema}.draws (key, epoch);
CREATE TABLE {schema}.job_payouts (
  job         text NOT NULL,
  epoch       bigint NOT NULL,
  amount_msat bigint NOT NULL,
  workers     bigint NOT NULL,
  PRIMARY KEY (job, epoch)
);

-- name: chain
INSERT INTO {schema}.chain AS t
SELECT * FROM unnest(
  $1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[],
  $10::bigint[], $11::text[], $12::timestamptz[], $13::bigint[], $14::bigint[])
ON CONFLICT (name) DO UPDATE SET
  network = coalesce(excluded.network, t.network),
  joined_height = coalesce(t.joined_height, excluded.joined_height),
  joined_pos = coalesce(t.joined_pos, excluded.joined_pos),
  confirmations = coalesce(excluded.confirmations, t.confirmations),
  arbiter = coalesce(excluded.arbiter, t.arbiter),
  market_key = coalesce(excluded.market_key, t.market_key),
  arbiter_key = coalesce(excluded.arbiter_key, t.arbiter_key),
  market_script = coalesce(excluded.market_script, t.market_script),
  height = excluded.height,
  block = excluded.block,
  moved_at = excluded.moved_at,
  reorgs = t.reorgs + excluded.reorgs,
  last_pos = excluded.last_pos

-- name: term
INSERT INTO {schema}.terms
SELECT * FROM unnest(
  $1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[],
  $10::text[], $11::bigint[])

-- name: account
INSERT INTO {schema}.accounts AS t
SELECT * FROM unnest(
  $1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[],
  $10::text[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[],
  $17::bigint[], $18::bigint[], $19::bigint[])
ON CONFLICT (key) DO UPDATE SET
  script = coalesce(excluded.script, t.script),
  expires_height = coalesce(excluded.expires_height, t.expires_height),
  paid_to = coalesce(excluded.paid_to, t.paid_to),
  release_key = coalesce(excluded.release_key, t.release_key),
  refund_key = coalesce(excluded.refund_key, t.refund_key),
  market_key = coalesce(excluded.market_key, t.market_key),
  arbiter_key = coalesce(excluded.arbiter_key, t.arbiter_key),
  terms = t.terms + excluded.terms,
  deposited_msat = t.deposited_msat + excluded.deposited_msat,
  drawing_msat = t.drawing_msat + excluded.drawing_msat,
  drawn_msat = t.drawn_msat + excluded.drawn_msat,
  returning_msat = t.returning_msat + excluded.returning_msat,
  returned_msat = t.returned_msat + excluded.returned_msat,
  rewarding_msat = t.rewarding_msat + excluded.rewarding_msat,
  rewarded_msat = t.rewarded_msat + excluded.rewarded_msat,
  last_pos = excluded.last_pos

-- name: deposit
INSERT INTO {schema}.coins
SELECT * FROM unnest(
  $1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[], $8::text[],
  $9::bigint[])

-- name: payout
INSERT INTO {schema}.payouts AS t
SELECT u.epoch, u.state, u.planned_height, u.rate_msat, u.fees_sat::bigint[], u.fund_sat, u.market_sat, u.reserve_sat,
       u.first_key, u.inputs, u.input_sat, u.size, u.root, u.receipts, u.anchor, u.previous, u.planned_at,
       u.planned_pos, u.txid, u.fee_sat, u.sent_at, u.objection, u.height, u.block, u.confirmed_at, u.confirmed_pos,
       u.payees, u.rewards_sat, u.refunds_sat, u.stakes_sat, u.borne_vb::bigint[], u.sendings, u.last_pos, u.saved_sat
  FROM unnest(
    $1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[],
    $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::text[], $14::text[], $15::text[], $16::text[],
    $17::timestamptz[], $18::bigint[], $19::text[], $20::bigint[], $21::timestamptz[], $22::text[], $23::bigint[],
    $24::text[], $25::timestamptz[], $26::bigint[], $27::bigint[], $28::bigint[], $29::bigint[], $30::bigint[],
    $31::text[], $32::bigint[], $33::bigint[], $34::bigint[]) AS u (
    epoch, state, planned_height, rate_msat, fees_sat, fund_sat, market_sat, reserve_sat, first_key, inputs, input_sat,
    size, root, receipts, anchor, previous, planned_at, planned_pos, txid, fee_sat, sent_at, objection, height, block,
    confirmed_at, confirmed_pos, payees, rewards_sat, refunds_sat, stakes_sat, borne_vb, sendings, last_pos, saved_sat)
ON CONFLICT (epoch) DO UPDATE SET
  state = coalesce(excluded.state, t.state),
  txid = coalesce(excluded.txid, t.txid),
  fee_sat = coalesce(excluded.fee_sat, t.fee_sat),
  sent_at = coalesce(excluded.sent_at, t.sent_at),
  objection = coalesce(excluded.objection, t.objection),
  -- a new state is in no block unless it says so
  height = CASE WHEN excluded.state IS NULL THEN t.height ELSE excluded.height END,
  block = CASE WHEN excluded.state IS NULL THEN t.block ELSE excluded.block END,
  confirmed_at = CASE WHEN excluded.state IS NULL THEN t.confirmed_at ELSE excluded.confirmed_at END,
  confirmed_pos = CASE WHEN excluded.state IS NULL THEN t.confirmed_pos ELSE excluded.confirmed_pos END,
  payees = t.payees + excluded.payees,
  rewards_sat = t.rewards_sat + excluded.rewards_sat,
  refunds_sat = t.refunds_sat + excluded.refunds_sat,
  stakes_sat = t.stakes_sat + excluded.stakes_sat,
  borne_vb = t.borne_vb || excluded.borne_vb,
  sendings = t.sendings + excluded.sendings,
  last_pos = excluded.last_pos

-- name: payment
INSERT INTO {schema}.payments
SELECT * FROM unnest(
  $1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::bigint[])

-- name: draw
INSERT INTO {schema}.draws
SELECT u.epoch, u.place, u.key, u.account, u.owner, u.coins::text[], u.coins_sat, u.due_sat, u.pool_sat, u.change_sat,
       u.script, u.change
  FROM unnest(
    $1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[],
    $9::bigint[], $10::bigint[], $11::text[], $12::bigint[]) AS u (
    epoch, place, key, account, owner, coins, coins_sat, due_sat, pool_sat, change_sat, script, change)

-- name: job
INSERT INTO {schema}.job_payouts AS t
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])
ON CONFLICT (job, epoch) DO UPDATE SET
  amount_msat = t.amount_msat + excluded.amount_msat,
  workers = t.workers + excluded.workers

-- name: settle
-- payouts went on: what they draw from accounts and pay to owners and workers counts as often
UPDATE {schema}.accounts AS t SET
  drawing_msat = t.drawing_msat + 1000 * s.drawing_sat,
  drawn_msat = t.drawn_msat + 1000 * s.drawn_sat,
  returning_msat = t.returning_msat + 1000 * s.returning_sat,
  returned_msat = t.returned_msat + 1000 * s.returned_sat,
  rewarding_msat = t.rewarding_msat + 1000 * s.rewarding_sat,
  rewarded_msat = t.rewarded_msat + 1000 * s.rewarded_sat,
  last_pos = greatest(t.last_pos, s.pos)
  FROM (
    SELECT key, sum(open * pool_sat)::bigint AS drawing_sat, sum(done * pool_sat)::bigint AS drawn_sat,
           sum(open * due_sat)::bigint AS returning_sat, sum(done * due_sat)::bigint AS returned_sat,
           sum(open * reward_sat)::bigint AS rewarding_sat, sum(done * reward_sat)::bigint AS rewarded_sat,
           max(pos) AS pos
      FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS u (epoch, open, done, pos)
      JOIN (
        SELECT epoch, key, pool_sat, 0 AS due_sat, 0 AS reward_sat FROM {schema}.draws
        UNION ALL
        SELECT epoch, key, 0, CASE WHEN due = 'reward' THEN 0 ELSE amount_sat END,
               CASE WHEN due = 'reward' THEN amount_sat ELSE 0 END
          FROM {schema}.payments
      ) AS m USING (epoch)
     GROUP BY key
  ) AS s
 WHERE t.key = s.key

-- name: save
-- what the fund does not pay at a rung below the dearest ($2: how many times the first one's rate each rung pays)
WITH found AS (
  SELECT p.epoch, p.saved_sat AS before_sat, CASE WHEN p.state = 'confirmed' THEN p.fund_sat - p.fee_sat + (
           SELECT coalesce(sum((vb * p.rate_msat * ($2::int[])[array_position(p.fees_sat, p.fee_sat)] + 999) / 1000), 0)
             FROM unnest(p.borne_vb) AS vb)::bigint ELSE 0 END AS saved_sat
    FROM {schema}.payouts AS p WHERE p.epoch = ANY($1::bigint[])
), noted AS (
  UPDATE {schema}.payouts AS p SET saved_sat = f.saved_sat FROM found AS f WHERE p.epoch = f.epoch
  RETURNING p.first_key, f.saved_sat - f.before_sat AS more_sat
)
UPDATE {schema}.accounts AS t SET drawn_msat = t.drawn_msat - 1000 * s.more_sat
  FROM (SELECT first_key, sum(more_sat)::bigint AS more_sat FROM noted GROUP BY first_key) AS s
 WHERE t.key = s.first_key

-- name: make
-- the reserve and the changes that a payout's transaction makes; the first change has what was saved as well
INSERT INTO {schema}.coins AS t
SELECT u.txid || lpad(to_hex(p.payees + (p.market_sat > 0)::int + 1 + d.change), 8, '0'), d.key,
       d.change_sat + CASE WHEN u.fee_sat IS NULL OR d.place > f.place THEN 0 ELSE p.fund_sat - u.fee_sat + (
         SELECT coalesce(sum((vb * p.rate_msat * ($7::int[])[array_position(p.fees_sat, u.fee_sat)] + 999) / 1000), 0)
           FROM unnest(p.borne_vb) AS vb)::bigint END,
       coalesce(u.height, 0), d.script, NULL, u.epoch, u.state, u.pos
  FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[])
         AS u (epoch, txid, fee_sat, height, state, pos)
  JOIN {schema}.payouts AS p USING (epoch)
  JOIN {schema}.draws AS d USING (epoch)
  JOIN LATERAL (SELECT min(place) AS place FROM {schema}.draws WHERE epoch = u.epoch AND change IS NOT NULL) AS f ON true
 WHERE d.change IS NOT NULL
ON CONFLICT (outpoint) DO UPDATE SET
  height = CASE WHEN excluded.height = 0 THEN t.height ELSE excluded.height END,
  state = CASE WHEN t.said_pos < excluded.said_pos THEN excluded.state ELSE t.state END,
  said_pos = greatest(t.said_pos, excluded.said_pos)

-- name: spend
UPDATE {schema}.coins AS t SET state = s.state, said_pos = s.pos
  FROM (
    SELECT DISTINCT ON (outpoint) outpoint, u.state, u.pos
      FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS u (epoch, state, pos)
      JOIN {schema}.draws AS d USING (epoch), unnest(d.coins) AS outpoint
     ORDER BY outpoint, u.pos DESC
  ) AS s
 WHERE t.outpoint = s.outpoint AND t.said_pos < s.pos

-- name: say
UPDATE {schema}.coins AS t SET
  height = coalesce(u.height, t.height),
  state = CASE WHEN t.said_pos < u.pos THEN u.state ELSE t.state END,
  said_pos = greatest(t.said_pos, u.pos)
  FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) AS u (outpoint, state, height, pos)
 WHERE t.outpoint = u.outpoint

-- name: rows
SELECT 'chain' AS kind, r::text AS row FROM {schema}.chain AS r
UNION ALL SELECT 'term', r::text FROM {schema}.terms AS r
UNION ALL SELECT 'account', r::text FROM {schema}.accounts AS r
UNION ALL SELECT 'coin', r::text FROM {schema}.coins AS r
UNION ALL SELECT 'payout', r::text FROM {schema}.payouts AS r
UNION ALL SELECT 'payment', r::text FROM {schema}.payments AS r
UNION ALL SELECT 'draw', r::text FROM {schema}.draws AS r
UNION ALL SELECT 'job', r::text FROM {schema}.job_payouts AS r
