-- Receivers of account events.
CREATE TABLE hooks (
    hook_id      BLOB    NOT NULL PRIMARY KEY,
    name         TEXT    NOT NULL,
    name_key     TEXT    NOT NULL UNIQUE,
    url          TEXT    NOT NULL,
    -- The events it is told of, with spaces between; NULL is all.
    event_types  TEXT,
    is_active    INTEGER NOT NULL,
    -- Since when events are not written for it, because too many wait.
    missed_since INTEGER,
    created_time INTEGER NOT NULL
) STRICT;

-- The secrets by which receivers verify what they get: one without an end, and the one before it for a while.
CREATE TABLE hook_secrets (
    hook_secret_id BLOB    NOT NULL PRIMARY KEY,
    hook_id        BLOB    NOT NULL REFERENCES hooks (hook_id) ON DELETE CASCADE,
    sealed         BLOB    NOT NULL,
    data_key_id    BLOB    NOT NULL REFERENCES data_keys (data_key_id),
    created_time   INTEGER NOT NULL,
    valid_to       INTEGER
) STRICT;
CREATE INDEX hook_secrets_by_hook ON hook_secrets (hook_id);
CREATE INDEX hook_secrets_by_data_key ON hook_secrets (data_key_id);

ALTER TABLE outbox ADD COLUMN hook_id BLOB REFERENCES hooks (hook_id) ON DELETE CASCADE;
CREATE INDEX outbox_by_hook ON outbox (hook_id, next_time) WHERE hook_id IS NOT NULL;
