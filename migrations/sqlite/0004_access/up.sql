-- Who may use an application and from where, and API keys.
-- Lists of words and of networks are text with commas between; an empty list of networks is anywhere.

ALTER TABLE applications ADD COLUMN access           TEXT NOT NULL DEFAULT 'everyone';
ALTER TABLE applications ADD COLUMN allowed_roles    TEXT NOT NULL DEFAULT '';
ALTER TABLE applications ADD COLUMN allowed_networks TEXT NOT NULL DEFAULT '';

-- Where a group goes, its place in the lists goes too: a list gets shorter, never wider.
CREATE TABLE application_groups (
    application_id BLOB NOT NULL REFERENCES applications (application_id) ON DELETE CASCADE,
    group_id       BLOB NOT NULL REFERENCES groups (group_id) ON DELETE CASCADE,
    PRIMARY KEY (application_id, group_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX application_groups_by_group ON application_groups (group_id);

ALTER TABLE users ADD COLUMN networks TEXT NOT NULL DEFAULT '';

-- Of a key only the SHA-256.
CREATE TABLE api_keys (
    key_id         BLOB    NOT NULL PRIMARY KEY,
    token_hash     BLOB    NOT NULL UNIQUE,
    user_id        BLOB    NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    name           TEXT    NOT NULL,
    scope          TEXT    NOT NULL,
    created_time   INTEGER NOT NULL,
    expiry         INTEGER,
    last_used_time INTEGER
) STRICT;
CREATE INDEX api_keys_by_user ON api_keys (user_id, key_id);
