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
 WHERE key = $1 ORDER BY position DESC LIMIT $2

-- name: positions
SELECT name, generation, revision, live, pos AS position, poison_pos, poison, moved_at
  FROM read.track WHERE live OR $1 ORDER BY name, generation
