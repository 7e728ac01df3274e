Positions of the read models. A live projector moves only live rows, a rebuild only rows that are not.

-- name: lock
SELECT pg_advisory_xact_lock(hashtextextended('pasar projections', 0))

-- name: all
SELECT name, generation, revision, live, pos, poison_pos, poison, moved_at FROM read.track ORDER BY name, generation

-- name: live
SELECT name, generation, revision, pos FROM read.track WHERE live AND name = ANY($1::text[])

-- name: tables
SELECT tablename AS name FROM pg_tables WHERE schemaname = $1 ORDER BY tablename

-- name: lock_rows
SELECT generation, live, pos FROM read.track WHERE name = $1 ORDER BY generation FOR UPDATE

-- name: move
UPDATE read.track AS t SET pos = $4, poison_pos = NULL, poison = NULL, moved_at = clock_timestamp()
FROM unnest($1::text[], $2::int[], $3::bigint[]) AS u (name, generation, old)
WHERE t.name = u.name AND t.generation = u.generation AND t.pos = u.old AND t.live = $5

-- name: poison
UPDATE read.track SET poison_pos = $3, poison = $4 WHERE name = $1 AND generation = $2

-- name: add
INSERT INTO read.track (name, generation, revision, live)
SELECT $1, coalesce(max(generation), 0) + 1, $2, $3 FROM read.track WHERE name = $1 RETURNING generation

-- name: set_live
UPDATE read.track SET live = $3 WHERE name = $1 AND generation = $2

-- name: forget
DELETE FROM read.track WHERE name = $1 AND generation = $2 AND NOT live

-- name: try_alone
SELECT pg_try_advisory_lock(hashtextextended('pasar rebuild ' || $1, 0))

-- name: exists
SELECT to_regclass('read.track') IS NOT NULL
