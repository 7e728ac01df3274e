Columns stand in the order of services.ports.Stored. Positions have no gap, so a page is a range of positions.

-- name: append
SELECT append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)

-- name: head
SELECT pos, tree FROM head

-- name: nodes
SELECT level, place, hash
FROM node JOIN unnest($1::int[], $2::bigint[]) AS wanted (l, p) ON level = l AND place = p

-- name: nodes_stored
SELECT count(*) FROM node WHERE level = $1

-- name: keep_nodes
INSERT INTO node (level, place, hash) SELECT * FROM unnest($1::int[], $2::bigint[], $3::bytea[])
ON CONFLICT DO NOTHING

-- name: taken
SELECT uuid_send(stream) AS stream, ver
FROM event JOIN unnest($1::uuid[], $2::int[]) AS wanted (s, v) ON stream = s AND ver = v

-- name: page
SELECT pos, uuid_send(stream), ver, name, data, meta, recorded_at
FROM event WHERE pos > $1 AND pos <= $2 ORDER BY pos

-- name: named
SELECT pos, uuid_send(stream), ver, name, data, meta, recorded_at
FROM event WHERE pos > $1 AND pos <= $2 AND name = ANY($3::text[]) ORDER BY pos LIMIT $4

-- name: at
SELECT pos, uuid_send(stream), ver, name, data, meta, recorded_at
FROM event WHERE pos = ANY($1::bigint[]) ORDER BY pos

-- name: within
-- LATERAL with an order of its own: one look into the index for each range, whatever the planner knows of the table.
SELECT found.*
FROM unnest($1::bigint[], $2::bigint[]) AS span (after, upto)
CROSS JOIN LATERAL (
    SELECT pos, uuid_send(stream), ver, name, data, meta, recorded_at
    FROM event WHERE pos > span.after AND pos <= span.upto ORDER BY pos
) AS found

-- name: stream_forward
SELECT pos, uuid_send(stream), ver, name, data, meta, recorded_at
FROM event WHERE stream = $1 AND ver > $2 AND ver <= $3 ORDER BY ver LIMIT $4

-- name: stream_named
SELECT pos, uuid_send(stream), ver, name, data, meta, recorded_at
FROM event WHERE stream = $1 AND name = $2 ORDER BY ver

-- name: stream_backward
SELECT pos, uuid_send(stream), ver, name, data, meta, recorded_at
FROM event WHERE stream = $1 AND ver > $2 AND ver <= $3 ORDER BY ver DESC LIMIT $4

-- name: snapshot_insert
INSERT INTO snapshot (stream, ver, name, data)
SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::bytea[])

-- name: snapshot_forward
SELECT ver, name, data FROM snapshot WHERE stream = $1 AND ver > $2 AND ver <= $3 ORDER BY ver LIMIT $4

-- name: snapshot_backward
SELECT ver, name, data FROM snapshot WHERE stream = $1 AND ver > $2 AND ver <= $3 ORDER BY ver DESC LIMIT $4

-- name: applied
SELECT number, sha256 FROM migration

-- name: mark_applied
INSERT INTO migration (number, file, sha256) VALUES ($1, $2, $3)

-- name: create_migration_table
CREATE TABLE IF NOT EXISTS migration (
    number     int         PRIMARY KEY,
    file       text        NOT NULL,
    sha256     text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)

-- name: lock_migration
SELECT pg_advisory_xact_lock(hashtextextended('pasar migration of ' || $1, 0))
