-- Second factors: the keys of one-time codes, encrypted under a data key, and the hashes of recovery codes.
-- An enrolment belongs to the session that began it and goes with it; once confirmed it belongs to the user alone.
CREATE TABLE totp_credentials (
    credential_id BLOB    NOT NULL PRIMARY KEY,
    user_id       BLOB    NOT NULL UNIQUE REFERENCES users (user_id) ON DELETE CASCADE,
    session_id    BLOB    REFERENCES sessions (session_id) ON DELETE CASCADE,
    sealed        BLOB    NOT NULL,
    data_key_id   BLOB    NOT NULL REFERENCES data_keys (data_key_id),
    last_step     INTEGER
) STRICT;
CREATE INDEX totp_credentials_by_session ON totp_credentials (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX totp_credentials_by_data_key ON totp_credentials (data_key_id);

-- A code that was used is gone.
CREATE TABLE recovery_codes (
    user_id   BLOB NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    code_hash BLOB NOT NULL,
    PRIMARY KEY (user_id, code_hash)
) STRICT, WITHOUT ROWID;

ALTER TABLE users DROP COLUMN totp_secret;
-- Until when an enrolment that is not confirmed can be.
ALTER TABLE users ADD COLUMN totp_enrolment_end INTEGER;
-- Set while one-time codes were enabled, and too short to be the only factor.
ALTER TABLE users ADD COLUMN password_needs_totp INTEGER NOT NULL DEFAULT 0;
