-- Tokens that let someone do one thing once: confirm a sign-up, set a password. Of a token only the SHA-256.
CREATE TABLE links (
    token_hash   bytea       NOT NULL PRIMARY KEY,
    purpose      text        NOT NULL,
    user_id      uuid        NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    created_time timestamptz NOT NULL,
    expiry       timestamptz NOT NULL
);
CREATE INDEX links_by_user ON links (user_id);
CREATE INDEX links_by_expiry ON links (expiry);

-- What finds a user by the e-mail address, without regard to case.
ALTER TABLE users ADD COLUMN email_key text;
UPDATE users SET email_key = lower(email);
CREATE INDEX users_by_email_key ON users (email_key) WHERE email_key IS NOT NULL;
CREATE INDEX users_unconfirmed ON users (created_time) WHERE sign_up_status = 'before_confirmation';

ALTER TABLE applications ADD COLUMN is_sign_up_open boolean NOT NULL DEFAULT false;
ALTER TABLE applications ADD COLUMN is_sign_up_approval_needed boolean NOT NULL DEFAULT false;
