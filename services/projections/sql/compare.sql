Two generations of a read model, row by row. {rows} is the model's own query `rows`.

-- name: checksum
SELECT count(*), coalesce(sum(hashtextextended(r::text, 0)::numeric), 0) FROM ({rows}) AS r

-- name: hashes
SELECT hashtextextended(r::text, 0) FROM ({rows}) AS r

-- name: shown
SELECT r::text FROM ({rows}) AS r WHERE hashtextextended(r::text, 0) = ANY($1::bigint[]) ORDER BY 1 LIMIT $2
