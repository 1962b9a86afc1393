-- Accounts of HTTP Basic that stand for users. One that is not linked yet stands for nobody, and opens nothing.
CREATE TABLE linked_accounts (
    account_id    BLOB    NOT NULL PRIMARY KEY,
    name          TEXT    NOT NULL,
    name_key      TEXT    NOT NULL UNIQUE,
    password_hash TEXT    NOT NULL,
    is_active     INTEGER NOT NULL,
    user_id       BLOB    REFERENCES users (user_id) ON DELETE SET NULL,
    linked_time   INTEGER,
    -- The one session that was opened through it, while it lasts.
    session_id    BLOB    REFERENCES sessions (session_id) ON DELETE SET NULL,
    created_time  INTEGER NOT NULL
) STRICT;
CREATE INDEX linked_accounts_by_user ON linked_accounts (user_id);
CREATE INDEX linked_accounts_by_session ON linked_accounts (session_id);
