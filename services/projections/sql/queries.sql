What readers ask of the read models; ``read.<name>`` is the live generation of each.

-- name: jobs
SELECT * FROM read.jobs WHERE $2::text IS NULL OR state = $2 ORDER BY posted_at DESC, job LIMIT $1

-- name: jobs_starting
SELECT * FROM read.jobs WHERE job >= $1 AND starts_with(job, $1) ORDER BY job LIMIT 2

-- name: jobs_verified
SELECT * FROM read.jobs
 WHERE client = $1 AND work_key = $2 AND state = 'completed' AND failed = 0 AND original IS NULL AND replicas >= $3
 ORDER BY replicas DESC, completed_at DESC LIMIT 1

-- name: tasks
SELECT * FROM read.tasks WHERE job = $1 ORDER BY task, replica LIMIT $2

-- name: workers
SELECT w.*, coalesce(a.rewarded_msat, 0) AS paid_msat, w.earned_msat - coalesce(a.rewarded_msat, 0) AS due_msat,
       coalesce(a.rewarding_msat, 0) AS paying_msat, w.withdrawn_msat - coalesce(a.returned_msat, 0) AS leaving_msat,
       coalesce(c.missing_msat, 0)::bigint AS missing_msat, coalesce(c.live_msat, 0)::bigint AS on_chain_msat,
       a.paid_to AS payout_script
  FROM read.workers AS w
  LEFT JOIN read.accounts AS a ON a.key = w.worker
  LEFT JOIN (SELECT key, sum(value_sat) FILTER (WHERE state = 'held') * 1000 AS live_msat,
                    sum(value_sat) FILTER (WHERE state = 'lost') * 1000 AS missing_msat
               FROM read.coins WHERE state IN ('held', 'lost') GROUP BY key) AS c ON c.key = w.worker
 WHERE $1::text IS NULL OR starts_with(w.worker, $1) ORDER BY w.registered_at, w.worker LIMIT $2

-- name: escrows
SELECT e.*, coalesce(a.drawn_msat, 0) AS drawn_msat,
       e.released_msat + e.charged_msat - coalesce(a.drawn_msat, 0) AS undrawn_msat,
       e.refunded_msat - coalesce(a.returned_msat, 0) AS leaving_msat, coalesce(c.missing_msat, 0)::bigint AS missing_msat,
       coalesce(c.live_msat, 0)::bigint AS on_chain_msat
  FROM read.escrows AS e
  LEFT JOIN read.accounts AS a ON a.key = e.escrow
  LEFT JOIN (SELECT key, sum(value_sat) FILTER (WHERE state = 'held') * 1000 AS live_msat,
                    sum(value_sat) FILTER (WHERE state = 'lost') * 1000 AS missing_msat
               FROM read.coins WHERE state IN ('held', 'lost') GROUP BY key) AS c ON c.key = e.escrow
 WHERE $1::text IS NULL OR (e.escrow >= $1 AND starts_with(e.escrow, $1)) ORDER BY e.escrow LIMIT $2

-- name: programs_starting
SELECT * FROM read.programs WHERE starts_with(program, $1) ORDER BY program LIMIT 2

-- name: positions_of
-- posting lists of one key do not overlap: the one that holds the first wanted position is the last to begin before it
SELECT position FROM read.event_index, unnest(positions) AS position
 WHERE key = $1 AND position > $2
   AND first_pos >= coalesce((SELECT max(first_pos) FROM read.event_index WHERE key = $1 AND first_pos <= $2), 0)
 ORDER BY position LIMIT $3

-- name: latest_of
SELECT position FROM read.event_index, unnest(positions) AS position
 WHERE key = $1 AND ($3::bigint IS NULL OR position <= $3) ORDER BY position DESC LIMIT $2

-- name: positions
SELECT name, generation, revision, live, pos AS position, poison_pos, poison, moved_at
  FROM read.track WHERE live OR $1 ORDER BY name, generation

-- name: totals
SELECT * FROM
  (SELECT count(*) AS jobs,
          count(*) FILTER (WHERE state = 'open') AS open_jobs,
          coalesce(sum(tasks), 0) AS tasks,
          coalesce(sum(tasks - verified - given_up) FILTER (WHERE state = 'open'), 0) AS open_tasks,
          coalesce(sum(verified), 0) AS settled,
          coalesce(sum(rejected), 0) AS rejected
     FROM read.jobs) AS j,
  (SELECT count(*) AS workers,
          count(*) FILTER (WHERE asking AND state = 'active') AS asking,
          coalesce(sum(slots) FILTER (WHERE asking AND state = 'active'), 0) AS slots,
          coalesce(sum(open), 0) AS busy,
          min(ask_msat) FILTER (WHERE asking AND state = 'active') AS asked_least_msat,
          max(ask_msat) FILTER (WHERE asking AND state = 'active') AS asked_most_msat,
          coalesce(sum(deposited_msat), 0) AS deposited_msat,
          coalesce(sum(slashed_msat), 0) AS slashed_msat,
          coalesce(sum(withdrawn_msat), 0) AS withdrawn_msat,
          coalesce(sum(stake_msat), 0) AS stake_msat
     FROM read.workers) AS w,
  (SELECT coalesce(sum(funded_msat), 0) AS funded_msat,
          coalesce(sum(free_msat), 0) AS free_msat,
          coalesce(sum(reserved_msat), 0) AS reserved_msat,
          coalesce(sum(released_msat), 0) AS paid_msat,
          coalesce(sum(charged_msat), 0) AS charged_msat,
          coalesce(sum(refunded_msat), 0) AS refunded_msat
     FROM read.escrows) AS e

-- name: hits_named
-- what has an index of its own; $1 in lower case, $2 in upper case, $3 with the algorithm's name before it
(SELECT 'job' AS kind, job AS id, job, NULL::int AS task, NULL::bigint AS position
   FROM read.jobs WHERE job >= $1 AND starts_with(job, $1) ORDER BY job LIMIT $4)
UNION ALL
(SELECT 'escrow', escrow, NULL, NULL, NULL FROM read.escrows
  WHERE escrow >= $1 AND starts_with(escrow, $1) ORDER BY escrow LIMIT $4)
UNION ALL
(SELECT 'client', client, NULL, NULL, NULL FROM read.escrows WHERE starts_with(client, $2) ORDER BY client LIMIT $4)
UNION ALL
(SELECT 'worker', worker, NULL, NULL, NULL FROM read.workers WHERE starts_with(worker, $2) ORDER BY worker LIMIT $4)
UNION ALL
(SELECT 'program', program, NULL, NULL, NULL FROM read.programs
  WHERE starts_with(program, $3) AND admitted_at IS NOT NULL ORDER BY program LIMIT $4)
UNION ALL
(SELECT 'identity', identity, NULL, NULL, NULL FROM read.programs
  WHERE starts_with(identity, $1) GROUP BY identity ORDER BY identity LIMIT $4)
UNION ALL
(SELECT 'party', key, NULL, NULL, NULL FROM read.event_index
  WHERE key >= $2 AND starts_with(key, $2) AND length(key) = 56
    AND NOT EXISTS (SELECT FROM read.workers WHERE worker = key)
    AND NOT EXISTS (SELECT FROM read.escrows WHERE client = key)
  GROUP BY key ORDER BY key LIMIT $4)

-- name: hits_digests
-- what has none: every row is looked at, for as long as the caller lets it; $2 with the algorithm's name before it
(SELECT 'work' AS kind, work_key AS id, job, NULL::int AS task, NULL::bigint AS position
   FROM read.jobs WHERE starts_with(work_key, $1) ORDER BY posted_at DESC LIMIT $3)
UNION ALL
(SELECT CASE WHEN starts_with(commitment, $1) THEN 'commitment'
             WHEN starts_with(result_address, $2) THEN 'result'
             WHEN starts_with(result_commitment, $1) THEN 'content'
             ELSE 'equality' END,
        CASE WHEN starts_with(commitment, $1) THEN commitment
             WHEN starts_with(result_address, $2) THEN result_address
             WHEN starts_with(result_commitment, $1) THEN result_commitment
             ELSE equality END,
        job, task, NULL
   FROM read.tasks
  WHERE starts_with(commitment, $1) OR starts_with(result_address, $2)
     OR starts_with(result_commitment, $1) OR starts_with(equality, $1)
  ORDER BY job, task, replica LIMIT $3)
UNION ALL
(SELECT 'deposit', convert_from(data, 'UTF8')::jsonb ->> 'reference', NULL, NULL, pos
   FROM event
  WHERE pos = ANY(SELECT unnest(positions) FROM read.event_index WHERE key IN ('EscrowFunded', 'StakeDeposited'))
    AND position(convert_to('"reference":"' || $1, 'UTF8') IN data) > 0
  ORDER BY pos LIMIT $3)
