CREATE TABLE audit_rows AS SELECT * FROM audit_events;
DROP VIEW audit_events;
CREATE TABLE audit_events (
    chain          INTEGER NOT NULL,
    seq            INTEGER NOT NULL,
    time           INTEGER NOT NULL,
    cid            TEXT    NOT NULL,
    action         TEXT    NOT NULL,
    outcome        TEXT    NOT NULL,
    reason         TEXT,
    actor_type     TEXT    NOT NULL,
    actor          TEXT,
    actor_session  BLOB,
    subject        TEXT,
    application    TEXT,
    remote_addr    TEXT,
    traceparent    TEXT,
    changes        TEXT,
    changes_salt   BLOB,
    changes_digest BLOB,
    hash           BLOB    NOT NULL,
    PRIMARY KEY (chain, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO audit_events SELECT chain, seq, time, cid, action, outcome, reason, actor_type, actor, unhex(actor_session, '-'), subject,
    application, remote_addr, traceparent, changes, unhex(changes_salt), unhex(changes_digest), unhex(hash) FROM audit_rows;
DROP TABLE audit_rows;
DROP TABLE audit_batches;
DROP TABLE audit_changes;
DROP TABLE audit_beginnings;
ALTER TABLE audit_chains DROP COLUMN month;
DROP TABLE audit_index;
CREATE TABLE audit_index (
    key    INTEGER NOT NULL,
    micros INTEGER NOT NULL,
    chain  INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    PRIMARY KEY (key, micros, chain, seq)
) STRICT, WITHOUT ROWID;
UPDATE audit_indexed SET seq = 0;
