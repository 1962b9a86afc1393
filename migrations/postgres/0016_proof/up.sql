-- Proof: sessions know how they were proved, credentials who made them, rows of both are held by a MAC; the trail knows whom an answer
-- showed, and its heads cover their month.

-- Sessions: when and how they were proved.
ALTER TABLE sessions ADD COLUMN auth_methods text NOT NULL DEFAULT 'pwd';
-- Switching codes on has ended whatever was opened without one.
UPDATE sessions SET auth_methods = 'pwd,otp' WHERE user_id IN (SELECT user_id FROM users WHERE is_totp_enabled);
ALTER TABLE sessions ADD COLUMN auth_time timestamptz NOT NULL DEFAULT 'epoch';
UPDATE sessions SET auth_time = created_time;
UPDATE sessions SET auth_methods = 'linked' WHERE session_id IN (SELECT session_id FROM linked_accounts WHERE session_id IS NOT NULL);

-- Credentials: who made them, how long first passwords and moved addresses hold.
ALTER TABLE users ADD COLUMN email_mod_by uuid;
ALTER TABLE users ADD COLUMN email_mod_time timestamptz;
ALTER TABLE api_keys ADD COLUMN made_by text;

-- When a letter of a kind was last written, or is due, to a mailbox about an account: further ones within the hour are joined.
CREATE TABLE letters_written (
    user_id uuid NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    kind text NOT NULL,
    mailbox text NOT NULL,
    time timestamptz NOT NULL,
    PRIMARY KEY (user_id, kind, mailbox)
);

-- Second factors that are demanded.
ALTER TABLE applications ADD COLUMN second_factor text NOT NULL DEFAULT 'as_set';

-- Rows that nobody alters without the key file.
ALTER TABLE sessions ADD COLUMN mac bytea NOT NULL DEFAULT '';
ALTER TABLE api_keys ADD COLUMN mac bytea NOT NULL DEFAULT '';
ALTER TABLE links ADD COLUMN mac bytea NOT NULL DEFAULT '';
ALTER TABLE applications ADD COLUMN mac bytea NOT NULL DEFAULT '';
ALTER TABLE linked_accounts ADD COLUMN mac bytea NOT NULL DEFAULT '';
ALTER TABLE totp_credentials ADD COLUMN mac bytea NOT NULL DEFAULT '';
ALTER TABLE recovery_codes ADD COLUMN mac bytea NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN credential_mac bytea NOT NULL DEFAULT '';

-- The trail: heads and beginnings in format 2, keys that sign heads.
ALTER TABLE audit_beginnings ADD COLUMN month bigint NOT NULL DEFAULT 0;

-- That an operator has accepted that the database was put back: the ends of the chains at that moment, with a MAC.
CREATE TABLE audit_rollbacks (
    number bigint NOT NULL PRIMARY KEY,
    heads  text NOT NULL,
    mac    bytea NOT NULL
);

-- Keys that sign, of any algorithm, each for one use: those of the use audit sign heads. They are never removed, for what they signed stays.
CREATE TABLE token_keys (
    key_id       uuid NOT NULL PRIMARY KEY,
    use          text NOT NULL,
    alg          text NOT NULL,
    public_jwk   text NOT NULL,
    sealed       bytea NOT NULL,
    data_key_id  uuid NOT NULL REFERENCES data_keys (data_key_id),
    created_time timestamptz NOT NULL,
    signs_from   timestamptz NOT NULL
);
CREATE INDEX token_keys_by_data_key ON token_keys (data_key_id);

-- The trail: whom an answer showed, and by which view.
CREATE TABLE audit_shown (
    month bigint NOT NULL,
    chain bigint NOT NULL,
    seq   bigint NOT NULL,
    shown bytea NOT NULL,
    PRIMARY KEY (chain, seq, month)
) PARTITION BY RANGE (month);

-- Months that are there get their partition now; the service makes those of months to come.
DO $$
DECLARE
    month bigint;
BEGIN
    FOR month IN
        SELECT substr(c.relname, 15)::bigint FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'audit_changes'::regclass AND c.relname ~ '^audit_changes_[0-9]+$'
    LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF audit_shown FOR VALUES FROM (%s) TO (%s)', 'audit_shown_' || month, month, month + 1);
    END LOOP;
END
$$;

DROP VIEW audit_events;
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
        e.value ->> 13 AS view,
        encode(s.shown, 'hex') AS shown,
        e.value ->> 14 AS shown_digest,
        e.value ->> 15 AS basis,
        encode(substr(b.hashes, (e.place - 1)::integer * 32 + 1, 32), 'hex') AS hash
    FROM audit_batches b CROSS JOIN LATERAL jsonb_array_elements(b.events::jsonb) WITH ORDINALITY AS e (value, place)
    LEFT JOIN audit_changes c ON c.chain = b.chain AND c.seq = b.last - length(b.hashes) / 32 + e.place
    LEFT JOIN audit_shown s ON s.chain = b.chain AND s.seq = b.last - length(b.hashes) / 32 + e.place;

-- Cheap requests: indexes for searches, known addresses, hourly counts.
CREATE INDEX users_locked ON users (username_key, user_id) WHERE is_locked;
CREATE INDEX users_awaiting ON users (username_key, user_id) WHERE approval_status = 'before_decision';
CREATE INDEX users_awaiting_by_number ON users (number) WHERE approval_status = 'before_decision';
CREATE INDEX users_administrators ON users (username_key, user_id) WHERE user_role = 'administrator';
CREATE INDEX users_unconfirmed_by_name ON users (username_key, user_id) WHERE sign_up_status = 'before_confirmation';

-- Addresses from which an account was signed in to lately, as MACs.
CREATE TABLE known_addresses (
    user_id   uuid NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    mac       bytea NOT NULL,
    last_time timestamptz NOT NULL,
    PRIMARY KEY (user_id, mac)
);
CREATE INDEX known_addresses_by_time ON known_addresses (last_time);

SELECT 1;
