-- Where each generation of each read model is, written in the transaction of its rows. The schema also holds a view
-- for each read model, which shows its live generation.

CREATE TABLE track (
    name       text        NOT NULL,
    generation int         NOT NULL,
    revision   int         NOT NULL,
    live       boolean     NOT NULL,
    pos        bigint      NOT NULL DEFAULT 0,
    poison_pos bigint,
    poison     text,
    moved_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, generation)
) WITH (fillfactor = 10);
CREATE UNIQUE INDEX track_live ON track (name) WHERE live;
COMMENT ON COLUMN track.poison_pos IS 'the event that stopped it; it stays unfolded until the projection is mended';
