-- Proof: sessions know how they were proved, credentials who made them, rows of both are held by a MAC; the trail knows whom an answer
-- showed, and its heads cover their month.

-- Sessions: when and how they were proved.
ALTER TABLE sessions ADD COLUMN auth_methods TEXT NOT NULL DEFAULT 'pwd';
-- Switching codes on has ended whatever was opened without one.
UPDATE sessions SET auth_methods = 'pwd,otp' WHERE user_id IN (SELECT user_id FROM users WHERE is_totp_enabled);
ALTER TABLE sessions ADD COLUMN auth_time INTEGER NOT NULL DEFAULT 0;
UPDATE sessions SET auth_time = created_time;
UPDATE sessions SET auth_methods = 'linked' WHERE session_id IN (SELECT session_id FROM linked_accounts WHERE session_id IS NOT NULL);

-- Credentials: who made them, how long first passwords and moved addresses hold.
ALTER TABLE users ADD COLUMN email_mod_by BLOB;
ALTER TABLE users ADD COLUMN email_mod_time INTEGER;
ALTER TABLE api_keys ADD COLUMN made_by TEXT;

-- When a letter of a kind was last written, or is due, to a mailbox about an account: further ones within the hour are joined.
CREATE TABLE letters_written (
    user_id BLOB NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    mailbox TEXT NOT NULL,
    time INTEGER NOT NULL,
    PRIMARY KEY (user_id, kind, mailbox)
) STRICT;

-- Second factors that are demanded.
ALTER TABLE applications ADD COLUMN second_factor TEXT NOT NULL DEFAULT 'as_set';

-- Rows that nobody alters without the key file.
ALTER TABLE sessions ADD COLUMN mac BLOB NOT NULL DEFAULT x'';
ALTER TABLE api_keys ADD COLUMN mac BLOB NOT NULL DEFAULT x'';
ALTER TABLE links ADD COLUMN mac BLOB NOT NULL DEFAULT x'';
ALTER TABLE applications ADD COLUMN mac BLOB NOT NULL DEFAULT x'';
ALTER TABLE linked_accounts ADD COLUMN mac BLOB NOT NULL DEFAULT x'';
ALTER TABLE totp_credentials ADD COLUMN mac BLOB NOT NULL DEFAULT x'';
ALTER TABLE recovery_codes ADD COLUMN mac BLOB NOT NULL DEFAULT x'';
ALTER TABLE users ADD COLUMN credential_mac BLOB NOT NULL DEFAULT x'';

-- The trail: heads and beginnings in format 2, keys that sign heads.
ALTER TABLE audit_beginnings ADD COLUMN month INTEGER NOT NULL DEFAULT 0;

-- That an operator has accepted that the database was put back: the ends of the chains at that moment, with a MAC.
CREATE TABLE audit_rollbacks (
    number INTEGER NOT NULL PRIMARY KEY,
    heads  TEXT NOT NULL,
    mac    BLOB NOT NULL
) STRICT;

-- Keys that sign, of any algorithm, each for one use: those of the use audit sign heads. They are never removed, for what they signed stays.
CREATE TABLE token_keys (
    key_id       BLOB NOT NULL PRIMARY KEY,
    use          TEXT NOT NULL,
    alg          TEXT NOT NULL,
    public_jwk   TEXT NOT NULL,
    sealed       BLOB NOT NULL,
    data_key_id  BLOB NOT NULL REFERENCES data_keys (data_key_id),
    created_time INTEGER NOT NULL,
    signs_from   INTEGER NOT NULL
) STRICT;
CREATE INDEX token_keys_by_data_key ON token_keys (data_key_id);

-- The trail: whom an answer showed, and by which view.
CREATE TABLE audit_shown (
    month INTEGER NOT NULL,
    chain INTEGER NOT NULL,
    seq   INTEGER NOT NULL,
    shown BLOB NOT NULL,
    PRIMARY KEY (chain, seq, month)
) STRICT, WITHOUT ROWID;

DROP VIEW audit_events;
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
        json_extract(e.value, '$[13]') AS view,
        lower(nullif(hex(s.shown), '')) AS shown,
        json_extract(e.value, '$[14]') AS shown_digest,
        json_extract(e.value, '$[15]') AS basis,
        lower(hex(substr(b.hashes, e.key * 32 + 1, 32))) AS hash
    FROM audit_batches b JOIN json_each(b.events) e
    LEFT JOIN audit_changes c ON c.chain = b.chain AND c.seq = b.last - length(b.hashes) / 32 + 1 + e.key
    LEFT JOIN audit_shown s ON s.chain = b.chain AND s.seq = b.last - length(b.hashes) / 32 + 1 + e.key;

-- Cheap requests: indexes for searches, known addresses, hourly counts.
CREATE INDEX users_locked ON users (username_key, user_id) WHERE is_locked;
CREATE INDEX users_awaiting ON users (username_key, user_id) WHERE approval_status = 'before_decision';
CREATE INDEX users_awaiting_by_number ON users (number) WHERE approval_status = 'before_decision';
CREATE INDEX users_administrators ON users (username_key, user_id) WHERE user_role = 'administrator';
CREATE INDEX users_unconfirmed_by_name ON users (username_key, user_id) WHERE sign_up_status = 'before_confirmation';

-- Addresses from which an account was signed in to lately, as MACs.
CREATE TABLE known_addresses (
    user_id   BLOB NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    mac       BLOB NOT NULL,
    last_time INTEGER NOT NULL,
    PRIMARY KEY (user_id, mac)
) STRICT, WITHOUT ROWID;
CREATE INDEX known_addresses_by_time ON known_addresses (last_time);

SELECT 1;
