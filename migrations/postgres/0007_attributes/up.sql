-- Custom attributes, of a user or of a session. The value stands in clear or encrypted under a data key, never both.
CREATE TABLE custom_attributes (
    attribute_id uuid        NOT NULL PRIMARY KEY,
    user_id      uuid        REFERENCES users (user_id) ON DELETE CASCADE,
    session_id   uuid        REFERENCES sessions (session_id) ON DELETE CASCADE,
    name         text        COLLATE "C" NOT NULL,
    value        text,
    sealed       bytea,
    data_key_id  uuid        REFERENCES data_keys (data_key_id),
    expiry       timestamptz,
    revision     bigint      NOT NULL,
    created_time timestamptz NOT NULL,
    updated_time timestamptz NOT NULL,
    CHECK ((user_id IS NULL) <> (session_id IS NULL)),
    CHECK ((value IS NULL) <> (sealed IS NULL)),
    CHECK ((sealed IS NULL) = (data_key_id IS NULL))
);
CREATE UNIQUE INDEX custom_attributes_of_user ON custom_attributes (user_id, name) WHERE user_id IS NOT NULL;
CREATE UNIQUE INDEX custom_attributes_of_session ON custom_attributes (session_id, name) WHERE session_id IS NOT NULL;
CREATE INDEX custom_attributes_by_data_key ON custom_attributes (data_key_id) WHERE data_key_id IS NOT NULL;
CREATE INDEX custom_attributes_by_expiry ON custom_attributes (expiry) WHERE expiry IS NOT NULL;
