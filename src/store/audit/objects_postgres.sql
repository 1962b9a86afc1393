-- The trail's objects as the migrations make them, to be held against those that there are; see objects.rs.
CREATE TEMP TABLE audit_chains (
    chain bigint NOT NULL PRIMARY KEY,
    seq   bigint NOT NULL,
    hash  bytea  NOT NULL,
    mac   bytea  NOT NULL,
    month bigint NOT NULL DEFAULT 0
);
CREATE TEMP TABLE audit_batches (
    month  bigint NOT NULL,
    chain  bigint NOT NULL,
    last   bigint NOT NULL,
    events text NOT NULL,
    hashes bytea NOT NULL,
    PRIMARY KEY (chain, last, month)
) PARTITION BY RANGE (month);
CREATE TEMP TABLE audit_shown (
    month bigint NOT NULL,
    chain bigint NOT NULL,
    seq   bigint NOT NULL,
    shown bytea NOT NULL,
    PRIMARY KEY (chain, seq, month)
) PARTITION BY RANGE (month);
CREATE TEMP TABLE audit_changes (
    month   bigint NOT NULL,
    chain   bigint NOT NULL,
    seq     bigint NOT NULL,
    subject text,
    salt    bytea NOT NULL,
    changes text NOT NULL,
    PRIMARY KEY (chain, seq, month)
) PARTITION BY RANGE (month);
CREATE INDEX audit_changes_by_subject ON audit_changes (subject);
CREATE TEMP TABLE audit_beginnings (
    chain bigint NOT NULL PRIMARY KEY,
    seq   bigint NOT NULL,
    hash  bytea NOT NULL,
    mac   bytea NOT NULL,
    month bigint NOT NULL DEFAULT 0
);
CREATE TEMP TABLE audit_index (
    key    bigint NOT NULL,
    micros bigint NOT NULL,
    chain  bigint NOT NULL,
    seq    bigint NOT NULL,
    month  bigint NOT NULL,
    PRIMARY KEY (key, micros, chain, seq, month)
) PARTITION BY RANGE (month);
CREATE TEMP TABLE audit_indexed (
    chain bigint NOT NULL PRIMARY KEY,
    seq   bigint NOT NULL
);
CREATE TEMP TABLE audit_rollbacks (
    number bigint NOT NULL PRIMARY KEY,
    heads  text NOT NULL,
    mac    bytea NOT NULL
);
CREATE TEMP VIEW audit_events AS
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
        e.value ->> 13 AS view,
        encode(s.shown, 'hex') AS shown,
        e.value ->> 14 AS shown_digest,
        e.value ->> 15 AS basis,
        encode(substr(b.hashes, (e.place - 1)::integer * 32 + 1, 32), 'hex') AS hash
    FROM audit_batches b CROSS JOIN LATERAL jsonb_array_elements(b.events::jsonb) WITH ORDINALITY AS e (value, place)
    LEFT JOIN audit_changes c ON c.chain = b.chain AND c.seq = b.last - length(b.hashes) / 32 + e.place
    LEFT JOIN audit_shown s ON s.chain = b.chain AND s.seq = b.last - length(b.hashes) / 32 + e.place;
