-- Data keys, wrapped by a key that derives from the key file: what is encrypted in the database is encrypted under one of them.
-- A key goes only when nothing is encrypted under it any more: the foreign keys see to it.
CREATE TABLE data_keys (
    data_key_id  uuid        NOT NULL PRIMARY KEY,
    wrapped      text        NOT NULL,
    is_active    boolean     NOT NULL,
    created_time timestamptz NOT NULL
);
-- One is active: what is encrypted from now on is encrypted under it.
CREATE UNIQUE INDEX data_keys_active ON data_keys (is_active) WHERE is_active;

-- What is to be sent to the world outside, written in the transaction of the change that it tells of.
CREATE TABLE outbox (
    message_id   uuid        NOT NULL PRIMARY KEY,
    kind         text        NOT NULL,
    user_id      uuid        REFERENCES users (user_id) ON DELETE CASCADE,
    sealed       bytea       NOT NULL,
    data_key_id  uuid        NOT NULL REFERENCES data_keys (data_key_id),
    attempts     bigint      NOT NULL,
    next_time    timestamptz,
    last_error   text,
    created_time timestamptz NOT NULL
);
CREATE INDEX outbox_by_time ON outbox (next_time) WHERE next_time IS NOT NULL;
CREATE INDEX outbox_by_user ON outbox (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX outbox_by_data_key ON outbox (data_key_id);
CREATE INDEX outbox_given_up ON outbox (created_time) WHERE next_time IS NULL;
