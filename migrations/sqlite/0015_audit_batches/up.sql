-- The trail in batches: what became durable together is one row. Every call writes to the trail, and a row for each event was most of what
-- a call cost. The month (the year times a hundred, and the month's number) never falls within a chain; what is older than the trail is to
-- be kept goes by months.

CREATE TABLE audit_batches (
    month  INTEGER NOT NULL,
    chain  INTEGER NOT NULL,
    last   INTEGER NOT NULL,
    events TEXT NOT NULL,
    hashes BLOB NOT NULL,
    PRIMARY KEY (chain, last, month)
) STRICT;

-- What a person may have erased: the values that changed. The chain has their digest.
CREATE TABLE audit_changes (
    month   INTEGER NOT NULL,
    chain   INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    subject TEXT,
    salt    BLOB NOT NULL,
    changes TEXT NOT NULL,
    PRIMARY KEY (chain, seq, month)
) STRICT;
CREATE INDEX audit_changes_by_subject ON audit_changes (subject);

-- Where a chain begins once its beginning has been dropped: the last event that was, with a MAC.
CREATE TABLE audit_beginnings (
    chain INTEGER NOT NULL PRIMARY KEY,
    seq   INTEGER NOT NULL,
    hash  BLOB NOT NULL,
    mac   BLOB NOT NULL
) STRICT;

INSERT INTO audit_batches (month, chain, last, events, hashes)
    SELECT max(CAST(strftime('%Y%m', time / 1000000, 'unixepoch') AS INTEGER)) OVER (PARTITION BY chain ORDER BY seq), chain, seq,
        json_array(json_array(time, cid, action, outcome, reason, actor_type, actor,
            CASE WHEN actor_session IS NULL THEN NULL ELSE lower(substr(hex(actor_session), 1, 8) || '-' || substr(hex(actor_session), 9, 4) || '-'
                || substr(hex(actor_session), 13, 4) || '-' || substr(hex(actor_session), 17, 4) || '-' || substr(hex(actor_session), 21)) END,
            subject, application, remote_addr, traceparent, lower(nullif(hex(changes_digest), '')))), hash
    FROM audit_events;
INSERT INTO audit_changes (month, chain, seq, subject, salt, changes)
    SELECT b.month, e.chain, e.seq, e.subject, e.changes_salt, e.changes
    FROM audit_events e JOIN audit_batches b ON b.chain = e.chain AND b.last = e.seq
    WHERE e.changes IS NOT NULL AND e.changes_salt IS NOT NULL;
DROP TABLE audit_events;

ALTER TABLE audit_chains ADD COLUMN month INTEGER NOT NULL DEFAULT 0;
UPDATE audit_chains SET month = coalesce((SELECT max(month) FROM audit_batches b WHERE b.chain = audit_chains.chain), 0);

-- The index is made anew.
DROP TABLE audit_index;
CREATE TABLE audit_index (
    key    INTEGER NOT NULL,
    micros INTEGER NOT NULL,
    chain  INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    month  INTEGER NOT NULL,
    PRIMARY KEY (key, micros, chain, seq, month)
) STRICT, WITHOUT ROWID;
UPDATE audit_indexed SET seq = 0;

-- The trail as a table of events, for whoever reads it with SQL.
CREATE VIEW audit_events AS
    SELECT b.chain, b.last - length(b.hashes) / 32 + 1 + e.key AS seq,
        json_extract(e.value, '$[0]') AS time,
        json_extract(e.value, '$[1]') AS cid,
        json_extract(e.value, '$[2]') AS action,
        json_extract(e.value, '$[3]') AS outcome,
        json_extract(e.value, '$[4]') AS reason,
        json_extract(e.value, '$[5]') AS actor_type,
        json_extract(e.value, '$[6]') AS actor,
        json_extract(e.value, '$[7]') AS actor_session,
        json_extract(e.value, '$[8]') AS subject,
        json_extract(e.value, '$[9]') AS application,
        json_extract(e.value, '$[10]') AS remote_addr,
        json_extract(e.value, '$[11]') AS traceparent,
        c.changes, lower(nullif(hex(c.salt), '')) AS changes_salt,
        json_extract(e.value, '$[12]') AS changes_digest,
        lower(hex(substr(b.hashes, e.key * 32 + 1, 32))) AS hash
    FROM audit_batches b JOIN json_each(b.events) e
    LEFT JOIN audit_changes c ON c.chain = b.chain AND c.seq = b.last - length(b.hashes) / 32 + 1 + e.key;
