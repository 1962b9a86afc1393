-- The keys that sign tokens for applications. Which one signs, and which are published, follows from the times alone.
CREATE TABLE signing_keys (
    signing_key_id uuid        NOT NULL PRIMARY KEY,
    public_key     bytea       NOT NULL,
    sealed         bytea       NOT NULL,
    data_key_id    uuid        NOT NULL REFERENCES data_keys (data_key_id),
    created_time   timestamptz NOT NULL,
    signs_from     timestamptz NOT NULL
);
CREATE INDEX signing_keys_by_data_key ON signing_keys (data_key_id);
INSERT INTO counters (name, value) VALUES ('signing_keys', 0);
