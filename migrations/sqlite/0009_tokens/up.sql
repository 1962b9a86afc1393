-- The keys that sign tokens for applications. Which one signs, and which are published, follows from the times alone.
CREATE TABLE signing_keys (
    signing_key_id BLOB    NOT NULL PRIMARY KEY,
    public_key     BLOB    NOT NULL,
    sealed         BLOB    NOT NULL,
    data_key_id    BLOB    NOT NULL REFERENCES data_keys (data_key_id),
    created_time   INTEGER NOT NULL,
    signs_from     INTEGER NOT NULL
) STRICT;
CREATE INDEX signing_keys_by_data_key ON signing_keys (data_key_id);
INSERT INTO counters (name, value) VALUES ('signing_keys', 0);
