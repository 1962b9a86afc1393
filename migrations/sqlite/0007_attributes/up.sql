-- Custom attributes, of a user or of a session. The value stands in clear or encrypted under a data key, never both.
CREATE TABLE custom_attributes (
    attribute_id BLOB        NOT NULL PRIMARY KEY,
    user_id      BLOB        REFERENCES users (user_id) ON DELETE CASCADE,
    session_id   BLOB        REFERENCES sessions (session_id) ON DELETE CASCADE,
    name         TEXT        NOT NULL,
    value        TEXT,
    sealed       BLOB,
    data_key_id  BLOB        REFERENCES data_keys (data_key_id),
    expiry       INTEGER,
    revision     INTEGER     NOT NULL,
    created_time INTEGER     NOT NULL,
    updated_time INTEGER     NOT NULL,
    CHECK ((user_id IS NULL) <> (session_id IS NULL)),
    CHECK ((value IS NULL) <> (sealed IS NULL)),
    CHECK ((sealed IS NULL) = (data_key_id IS NULL))
) STRICT;
CREATE UNIQUE INDEX custom_attributes_of_user ON custom_attributes (user_id, name) WHERE user_id IS NOT NULL;
CREATE UNIQUE INDEX custom_attributes_of_session ON custom_attributes (session_id, name) WHERE session_id IS NOT NULL;
CREATE INDEX custom_attributes_by_data_key ON custom_attributes (data_key_id) WHERE data_key_id IS NOT NULL;
CREATE INDEX custom_attributes_by_expiry ON custom_attributes (expiry) WHERE expiry IS NOT NULL;
