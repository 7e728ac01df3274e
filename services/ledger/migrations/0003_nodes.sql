-- Roots of complete subtrees of the Merkle tree, from 256 leaves up: with them a proof reads a few hundred events
-- and a few dozen nodes, however long the log is. The tree's shape is that of RFC 6962.

CREATE TABLE node (
    level int    NOT NULL,
    place bigint NOT NULL,
    hash  bytea  NOT NULL,
    PRIMARY KEY (level, place)
);
COMMENT ON TABLE node IS 'node (l, p) is the root over positions p * 2^l + 1 to (p + 1) * 2^l; append-only';
COMMENT ON COLUMN node.level IS '8 or more; what is below is hashed again from the events';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON node
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE node ENABLE ALWAYS TRIGGER append_only;

-- As before, and it keeps the subtrees that the commit completes.
DROP FUNCTION append;
CREATE FUNCTION append(
    after bigint, grown bytea[], at timestamptz,
    streams uuid[], versions int[], names text[], datas bytea[], metas bytea[],
    levels int[], places bigint[], hashes bytea[]
) RETURNS boolean LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE head SET pos = after + cardinality(streams), tree = grown WHERE pos = after;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO event (pos, recorded_at, stream, ver, name, data, meta)
    SELECT after + u.n, at, u.stream, u.ver, u.name, u.data, u.meta
    FROM unnest(streams, versions, names, datas, metas) WITH ORDINALITY AS u (stream, ver, name, data, meta, n);
    IF cardinality(levels) > 0 THEN
        INSERT INTO node (level, place, hash) SELECT * FROM unnest(levels, places, hashes);
    END IF;
    RETURN true;
END $$;
