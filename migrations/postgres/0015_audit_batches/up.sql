-- The trail in batches: what became durable together is one row. Every call writes to the trail, and a row for each event was most of what
-- a call cost. The month (the year times a hundred, and the month's number) never falls within a chain; what is older than the trail is to
-- be kept goes by months. A partition is a month; the service makes it when it is first written to.

CREATE TABLE audit_batches (
    month  bigint NOT NULL,
    chain  bigint NOT NULL,
    last   bigint NOT NULL,
    events text NOT NULL,
    hashes bytea NOT NULL,
    PRIMARY KEY (chain, last, month)
) PARTITION BY RANGE (month);

-- What a person may have erased: the values that changed. The chain has their digest.
CREATE TABLE audit_changes (
    month   bigint NOT NULL,
    chain   bigint NOT NULL,
    seq     bigint NOT NULL,
    subject text,
    salt    bytea NOT NULL,
    changes text NOT NULL,
    PRIMARY KEY (chain, seq, month)
) PARTITION BY RANGE (month);
CREATE INDEX audit_changes_by_subject ON audit_changes (subject);

-- Where a chain begins once its beginning has been dropped: the last event that was, with a MAC.
CREATE TABLE audit_beginnings (
    chain bigint NOT NULL PRIMARY KEY,
    seq   bigint NOT NULL,
    hash  bytea NOT NULL,
    mac   bytea NOT NULL
);

DROP TABLE audit_index;
CREATE TABLE audit_index (
    key    bigint NOT NULL,
    micros bigint NOT NULL,
    chain  bigint NOT NULL,
    seq    bigint NOT NULL,
    month  bigint NOT NULL,
    PRIMARY KEY (key, micros, chain, seq, month)
) PARTITION BY RANGE (month);
UPDATE audit_indexed SET seq = 0;

DO $$
DECLARE
    month bigint;
    parent text;
BEGIN
    FOR month IN SELECT DISTINCT to_char(time AT TIME ZONE 'UTC', 'YYYYMM')::bigint FROM audit_events LOOP
        FOREACH parent IN ARRAY ARRAY['audit_batches', 'audit_changes', 'audit_index'] LOOP
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%s) TO (%s)', parent || '_' || month, parent, month, month + 1);
        END LOOP;
    END LOOP;
END
$$;

INSERT INTO audit_batches (month, chain, last, events, hashes)
    SELECT max(to_char(time AT TIME ZONE 'UTC', 'YYYYMM')::bigint) OVER (PARTITION BY chain ORDER BY seq), chain, seq,
        json_build_array(json_build_array((extract(epoch FROM time) * 1000000)::bigint, cid, action, outcome, reason, actor_type, actor,
            actor_session, subject, application, remote_addr, traceparent, encode(changes_digest, 'hex')))::text, hash
    FROM audit_events;
INSERT INTO audit_changes (month, chain, seq, subject, salt, changes)
    SELECT b.month, e.chain, e.seq, e.subject, e.changes_salt, e.changes
    FROM audit_events e JOIN audit_batches b ON b.chain = e.chain AND b.last = e.seq
    WHERE e.changes IS NOT NULL AND e.changes_salt IS NOT NULL;
DROP TABLE audit_events;

ALTER TABLE audit_chains ADD COLUMN month bigint NOT NULL DEFAULT 0;
UPDATE audit_chains SET month = coalesce((SELECT max(month) FROM audit_batches b WHERE b.chain = audit_chains.chain), 0);

-- The trail as a table of events, for whoever reads it with SQL.
CREATE VIEW audit_events AS
    SELECT b.chain, b.last - length(b.hashes) / 32 + e.place AS seq,
        to_timestamp(0) + (e.value ->> 0)::bigint * interval '1 microsecond' AS time,
        e.value ->> 1 AS cid,
        e.value ->> 2 AS action,
        e.value ->> 3 AS outcome,
        e.value ->> 4 AS reason,
        e.value ->> 5 AS actor_type,
        e.value ->> 6 AS actor,
        e.value ->> 7 AS actor_session,
        e.value ->> 8 AS subject,
        e.value ->> 9 AS application,
        e.value ->> 10 AS remote_addr,
        e.value ->> 11 AS traceparent,
        c.changes, encode(c.salt, 'hex') AS changes_salt,
        e.value ->> 12 AS changes_digest,
        encode(substr(b.hashes, (e.place - 1)::integer * 32 + 1, 32), 'hex') AS hash
    FROM audit_batches b CROSS JOIN LATERAL jsonb_array_elements(b.events::jsonb) WITH ORDINALITY AS e (value, place)
    LEFT JOIN audit_changes c ON c.chain = b.chain AND c.seq = b.last - length(b.hashes) / 32 + e.place;
