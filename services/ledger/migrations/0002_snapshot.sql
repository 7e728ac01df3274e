-- States that can be folded again from the log: a cache of the library's face, no part of the log.

CREATE TABLE snapshot (
    stream uuid  NOT NULL,
    ver    int   NOT NULL,
    name   text  NOT NULL,
    data   bytea NOT NULL,
    PRIMARY KEY (stream, ver)
);
