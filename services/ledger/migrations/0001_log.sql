-- The log: what happened, in commit order, forever. Names are unqualified: the schema is the one being migrated.

CREATE TABLE event (
    pos         bigint      PRIMARY KEY,
    recorded_at timestamptz NOT NULL,
    stream      uuid        NOT NULL,
    ver         int         NOT NULL,
    name        text        NOT NULL,
    data        bytea       NOT NULL,
    meta        bytea       NOT NULL,
    UNIQUE (stream, ver)
);
COMMENT ON TABLE event IS 'append-only; positions are 1..N without gap, in commit order';
COMMENT ON COLUMN event.recorded_at IS 'one time for a commit; part of the Merkle leaf';

-- One row: where the log ends, and the roots of the complete subtrees of its Merkle tree (RFC 6962), largest first.
-- It is rewritten by every commit, so the page keeps room for the new version of the row beside the old one.
CREATE TABLE head (
    one  boolean PRIMARY KEY DEFAULT true CHECK (one),
    pos  bigint  NOT NULL,
    tree bytea[] NOT NULL
) WITH (fillfactor = 10);
INSERT INTO head (pos, tree) VALUES (0, '{}');

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log is append-only: % on % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER one_row BEFORE INSERT OR DELETE OR TRUNCATE ON head
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- ALWAYS: a session that plays a replica skips ordinary triggers.
ALTER TABLE event ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE head ENABLE ALWAYS TRIGGER one_row;

-- Appends one commit in one round trip. The lock on the row of head is held to the commit: positions are given in
-- commit order, without gap, and a writer that does not know the end of the log changes nothing and gets false.
CREATE FUNCTION append(
    after bigint, grown bytea[], at timestamptz,
    streams uuid[], versions int[], names text[], datas bytea[], metas bytea[]
) RETURNS boolean LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE head SET pos = after + cardinality(streams), tree = grown WHERE pos = after;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO event (pos, recorded_at, stream, ver, name, data, meta)
    SELECT after + u.n, at, u.stream, u.ver, u.name, u.data, u.meta
    FROM unnest(streams, versions, names, datas, metas) WITH ORDINALITY AS u (stream, ver, name, data, meta, n);
    RETURN true;
END $$;
