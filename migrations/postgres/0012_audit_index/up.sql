-- The trail's index, filled a moment behind: the table that every call writes to has no other than its key.
-- key is 0 (every event, by time) or the beginning of a hash of a correlation id, or of an actor or subject.
CREATE TABLE audit_index (
    key    bigint NOT NULL,
    micros bigint NOT NULL,
    chain  bigint NOT NULL,
    seq    bigint NOT NULL,
    PRIMARY KEY (key, micros, chain, seq)
);

-- Up to where each chain is in the index.
CREATE TABLE audit_indexed (
    chain bigint NOT NULL PRIMARY KEY,
    seq   bigint NOT NULL
);
INSERT INTO audit_indexed (chain, seq) SELECT chain, 0 FROM audit_chains;

DROP INDEX audit_events_by_time;
DROP INDEX audit_events_by_cid;
DROP INDEX audit_events_by_actor;
DROP INDEX audit_events_by_subject;
