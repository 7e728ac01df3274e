What readers ask of read model ``settlement``.

-- name: chain
SELECT * FROM read.chain WHERE network IS NOT NULL

-- name: accounts
SELECT a.*, coalesce(c.live_sat, 0)::bigint AS live_sat, coalesce(c.coins, 0) AS coins,
       coalesce(c.missing_sat, 0)::bigint * 1000 AS missing_msat
  FROM read.accounts AS a
  LEFT JOIN (SELECT key, sum(value_sat) FILTER (WHERE state = 'held') AS live_sat,
                    count(*) FILTER (WHERE state = 'held') AS coins,
                    sum(value_sat) FILTER (WHERE state = 'lost') AS missing_sat
               FROM read.coins WHERE state IN ('held', 'lost') AND ($1::text IS NULL OR key = $1) GROUP BY key) AS c
 USING (key)
 WHERE $1::text IS NULL OR a.key = $1 ORDER BY a.account, a.key

-- name: terms
SELECT * FROM read.terms WHERE $1::text IS NULL OR key = $1 ORDER BY opened_pos

-- name: coins
SELECT c.outpoint, c.key, c.value_sat, c.height, c.epoch,
       coalesce(c.script, (SELECT script FROM read.terms AS t WHERE t.key = c.key ORDER BY opened_pos
                            OFFSET c.term LIMIT 1)) AS script
  FROM read.coins AS c WHERE c.key = $1 AND c.state = 'held' ORDER BY c.value_sat DESC, c.outpoint

-- name: payouts
SELECT * FROM read.payouts WHERE $2::bigint IS NULL OR epoch < $2 ORDER BY epoch DESC LIMIT $1

-- name: payments
SELECT m.*, p.state, p.txid, p.height FROM read.payments AS m JOIN read.payouts AS p USING (epoch)
 WHERE epoch = $1 ORDER BY amount_sat, script, due, owner

-- name: payments_of
SELECT m.*, p.state, p.txid, p.height FROM read.payments AS m JOIN read.payouts AS p USING (epoch)
 WHERE owner = $1 ORDER BY epoch DESC, due LIMIT $2

-- name: draws
SELECT d.*, p.state, p.txid, p.height, CASE WHEN d.place = 0 THEN p.saved_sat ELSE 0 END AS saved_sat
  FROM read.draws AS d JOIN read.payouts AS p USING (epoch)
 WHERE epoch = $1 ORDER BY place

-- name: draws_of
SELECT d.*, p.state, p.txid, p.height, CASE WHEN d.place = 0 THEN p.saved_sat ELSE 0 END AS saved_sat
  FROM read.draws AS d JOIN read.payouts AS p USING (epoch)
 WHERE key = $1 ORDER BY epoch DESC, place LIMIT $2

-- name: job_payouts
SELECT j.*, p.state, p.txid, p.height FROM read.job_payouts AS j JOIN read.payouts AS p USING (epoch)
 WHERE job = $1 ORDER BY epoch

-- name: on_chain
SELECT * FROM
  (SELECT coalesce(sum(deposited_msat), 0) AS deposited_msat,
          coalesce(sum(rewarding_msat), 0) AS rewarding_msat FROM read.accounts) AS a,
  (SELECT coalesce(sum(value_sat) FILTER (WHERE state = 'held'), 0) * 1000 AS live_msat,
          coalesce(sum(value_sat) FILTER (WHERE state = 'lost'), 0) * 1000 AS missing_msat
     FROM read.coins WHERE state IN ('held', 'lost')) AS c,
  (SELECT coalesce(sum(rewards_sat), 0) * 1000 AS paid_msat,
          coalesce(sum(refunds_sat + stakes_sat), 0) * 1000 AS returned_msat,
          coalesce(sum(saved_sat - fund_sat + fee_sat), 0) * 1000 AS borne_msat,
          coalesce(sum(market_sat), 0) * 1000 AS market_msat,
          coalesce(sum(fee_sat), 0) * 1000 AS miners_msat FROM read.payouts WHERE state = 'confirmed') AS p,
  (SELECT coalesce(sum(fund_msat), 0) AS fund_msat FROM read.escrows) AS e

-- name: named
-- what has a name that begins so: $1 digits of a digest, $2 beginnings of scripts, both in lower case
(SELECT 'transaction' AS kind, txid AS id, epoch, NULL::text AS key FROM read.payouts
  WHERE starts_with(txid, $1) ORDER BY epoch LIMIT $3)
UNION ALL
(SELECT 'anchor', anchor, epoch, NULL FROM read.payouts WHERE starts_with(anchor, $1) ORDER BY epoch LIMIT $3)
UNION ALL
(SELECT 'block', block, epoch, NULL FROM read.payouts WHERE starts_with(block, $1) ORDER BY epoch LIMIT $3)
UNION ALL
(SELECT 'root', root, epoch, NULL FROM read.payouts WHERE starts_with(root, $1) ORDER BY epoch LIMIT $3)
UNION ALL
(SELECT 'outpoint', outpoint, epoch, key FROM read.coins
  WHERE length($1) > 64 AND outpoint >= $1 AND starts_with(outpoint, $1) ORDER BY outpoint LIMIT $3)
UNION ALL
(SELECT 'script', script, NULL, key FROM read.terms
  WHERE EXISTS (SELECT FROM unnest($2::text[]) AS b WHERE starts_with(script, b)) ORDER BY opened_pos LIMIT $3)
UNION ALL
(SELECT 'paid_to', paid_to, NULL, min(key) FROM read.terms
  WHERE EXISTS (SELECT FROM unnest($2::text[]) AS b WHERE starts_with(paid_to, b)) GROUP BY paid_to
  ORDER BY paid_to LIMIT $3)
UNION ALL
(SELECT 'market', market_script, NULL, NULL FROM read.chain
  WHERE EXISTS (SELECT FROM unnest($2::text[]) AS b WHERE starts_with(market_script, b)))
