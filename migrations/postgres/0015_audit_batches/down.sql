CREATE TABLE audit_rows AS SELECT * FROM audit_events;
DROP VIEW audit_events;
CREATE TABLE audit_events (
    chain          bigint      NOT NULL,
    seq            bigint      NOT NULL,
    time           timestamptz NOT NULL,
    cid            text        NOT NULL,
    action         text        NOT NULL,
    outcome        text        NOT NULL,
    reason         text,
    actor_type     text        NOT NULL,
    actor          text,
    actor_session  uuid,
    subject        text,
    application    text,
    remote_addr    text,
    traceparent    text,
    changes        text,
    changes_salt   bytea,
    changes_digest bytea,
    hash           bytea       NOT NULL,
    PRIMARY KEY (chain, seq)
);
INSERT INTO audit_events SELECT chain, seq, time, cid, action, outcome, reason, actor_type, actor, actor_session::uuid, subject,
    application, remote_addr, traceparent, changes, decode(changes_salt, 'hex'), decode(changes_digest, 'hex'), decode(hash, 'hex') FROM audit_rows;
DROP TABLE audit_rows;
DROP TABLE audit_batches;
DROP TABLE audit_changes;
DROP TABLE audit_beginnings;
ALTER TABLE audit_chains DROP COLUMN month;
DROP TABLE audit_index;
CREATE TABLE audit_index (
    key    bigint NOT NULL,
    micros bigint NOT NULL,
    chain  bigint NOT NULL,
    seq    bigint NOT NULL,
    PRIMARY KEY (key, micros, chain, seq)
);
UPDATE audit_indexed SET seq = 0;
