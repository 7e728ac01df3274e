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
SELECT * FROM read.workers ORDER BY registered_at, worker

-- name: workers_starting
SELECT * FROM read.workers WHERE starts_with(worker, $1) ORDER BY worker LIMIT 2

-- name: escrows
SELECT * FROM read.escrows ORDER BY escrow

-- name: escrows_starting
SELECT * FROM read.escrows WHERE escrow >= $1 AND starts_with(escrow, $1) ORDER BY escrow LIMIT 2

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
