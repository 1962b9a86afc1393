-- Accounts of HTTP Basic that stand for users. One that is not linked yet stands for nobody, and opens nothing.
CREATE TABLE linked_accounts (
    account_id    uuid        NOT NULL PRIMARY KEY,
    name          text        NOT NULL,
    name_key      text        COLLATE "C" NOT NULL UNIQUE,
    password_hash text        NOT NULL,
    is_active     boolean     NOT NULL,
    user_id       uuid        REFERENCES users (user_id) ON DELETE SET NULL,
    linked_time   timestamptz,
    -- The one session that was opened through it, while it lasts.
    session_id    uuid        REFERENCES sessions (session_id) ON DELETE SET NULL,
    created_time  timestamptz NOT NULL
);
CREATE INDEX linked_accounts_by_user ON linked_accounts (user_id);
CREATE INDEX linked_accounts_by_session ON linked_accounts (session_id);
