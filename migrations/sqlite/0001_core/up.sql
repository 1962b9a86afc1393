-- The core: users and their names, groups, applications, sessions, lock-out, audit.
-- The two folders of migrations hold the same tables, columns and keys; a test compares them.
-- STRICT makes SQLite hold to the declared types. A uuid is a BLOB of 16 bytes, a time INTEGER microseconds since 1970 UTC, a boolean 0 or 1.

-- What the attribute table in src/domain/user.rs stores, in its order.
CREATE TABLE users (
    user_id                  BLOB    NOT NULL PRIMARY KEY,
    number                   INTEGER NOT NULL UNIQUE,
    username                 TEXT    NOT NULL,
    username_key             TEXT    NOT NULL UNIQUE,
    login_name               TEXT    NOT NULL,
    login_name_key           TEXT    NOT NULL UNIQUE,
    external_id              TEXT    UNIQUE,
    email                    TEXT,
    display_name             TEXT    NOT NULL,
    first_name               TEXT,
    middle_name              TEXT,
    last_name                TEXT,
    is_totp_enabled          INTEGER NOT NULL,
    totp_label               TEXT,
    totp_secret              BLOB,
    user_role                TEXT    NOT NULL,
    lang_id                  INTEGER,
    login_time               INTEGER,
    login_station            TEXT,
    is_active                INTEGER NOT NULL,
    is_internal              INTEGER NOT NULL,
    is_locked                INTEGER NOT NULL,
    lock_cause               TEXT,
    locked_time              INTEGER,
    locked_by                BLOB,
    lock_reason              TEXT,
    is_approval_needed       INTEGER NOT NULL,
    approval_status          TEXT    NOT NULL,
    approval_status_mod_by   BLOB,
    approval_status_mod_time INTEGER,
    sign_up_status           TEXT    NOT NULL,
    creation_ctx             TEXT    NOT NULL,
    password_hash            TEXT,
    password_must_change     INTEGER NOT NULL,
    password_last_set        INTEGER,
    password_expiry          INTEGER,
    password_never_expires   INTEGER NOT NULL,
    login_count              INTEGER NOT NULL,
    failed_login_count       INTEGER NOT NULL,
    valid_from               INTEGER,
    valid_to                 INTEGER,
    never_expire             INTEGER NOT NULL,
    profile_id               INTEGER,
    supervisor_id            BLOB    REFERENCES users (user_id) ON DELETE SET NULL,
    server_id                INTEGER,
    account_type             INTEGER NOT NULL,
    flags                    INTEGER NOT NULL,
    station                  TEXT,
    remark                   TEXT,
    created_time             INTEGER NOT NULL,
    updated_time             INTEGER NOT NULL,
    active_time              INTEGER
) STRICT;

-- The names that sign in: usernames and login names share one space of names.
CREATE TABLE sign_in_names (
    name_key TEXT NOT NULL PRIMARY KEY,
    user_id  BLOB NOT NULL REFERENCES users (user_id) ON DELETE CASCADE
) STRICT;
CREATE INDEX sign_in_names_by_user ON sign_in_names (user_id);
CREATE INDEX users_by_supervisor ON users (supervisor_id) WHERE supervisor_id IS NOT NULL;
CREATE INDEX users_super ON users (user_id) WHERE user_role = 'administrator';

-- What finds a user by the beginning of a name: the folded names (is_field) and the words in them and in the e-mail address.
CREATE TABLE user_search (
    term     TEXT    NOT NULL,
    user_id  BLOB    NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    is_field INTEGER NOT NULL,
    PRIMARY KEY (term, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX user_search_by_user ON user_search (user_id, term);
CREATE INDEX users_by_email ON users (email) WHERE email IS NOT NULL;

CREATE TABLE groups (
    group_id BLOB NOT NULL PRIMARY KEY,
    name     TEXT NOT NULL,
    name_key TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE group_members (
    group_id BLOB NOT NULL REFERENCES groups (group_id) ON DELETE CASCADE,
    user_id  BLOB NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    PRIMARY KEY (group_id, user_id)
) STRICT;
CREATE INDEX group_members_by_user ON group_members (user_id);

CREATE TABLE applications (
    application_id  BLOB    NOT NULL PRIMARY KEY,
    name            TEXT    NOT NULL,
    name_key        TEXT    NOT NULL UNIQUE,
    session_scope   TEXT    NOT NULL,
    is_key_required INTEGER NOT NULL,
    key_hash        BLOB,
    created_time    INTEGER NOT NULL
) STRICT;
-- The application of calls that name none.
INSERT INTO applications (application_id, name, name_key, session_scope, is_key_required, key_hash, created_time)
    VALUES (x'00000000000070008000000000000000', 'default', 'default', 'shared', 0, NULL, unixepoch() * 1000000);

-- Of a token only the SHA-256.
CREATE TABLE sessions (
    session_id      BLOB    NOT NULL PRIMARY KEY,
    token_hash      BLOB    NOT NULL UNIQUE,
    user_id         BLOB    NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    application_id  BLOB    NOT NULL REFERENCES applications (application_id) ON DELETE CASCADE,
    created_time    INTEGER NOT NULL,
    renewed_time    INTEGER,
    idle_expiry     INTEGER NOT NULL,
    absolute_expiry INTEGER NOT NULL,
    remote_addr     TEXT,
    user_agent      TEXT
) STRICT;
CREATE INDEX sessions_by_user ON sessions (user_id, session_id);
CREATE INDEX sessions_by_application ON sessions (application_id);
CREATE INDEX sessions_by_end ON sessions (idle_expiry);

-- Failures, counted by a hash of what is counted; with the user, where an account is.
CREATE TABLE throttles (
    bucket        BLOB    NOT NULL PRIMARY KEY,
    user_id       BLOB,
    failures      INTEGER NOT NULL,
    last_time     INTEGER NOT NULL,
    blocked_until INTEGER
) STRICT;
CREATE INDEX throttles_by_user ON throttles (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX throttles_by_time ON throttles (last_time);

-- Rows that are locked to make something happen once at a time.
CREATE TABLE counters (
    name  TEXT    NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;
INSERT INTO counters (name, value) VALUES ('user_number', 0), ('super_users', 0), ('strangers', 0);

-- The audit trail: chains of events, each bound to the one before by its hash, and the head of each chain with its MAC.
CREATE TABLE audit_events (
    chain          INTEGER NOT NULL,
    seq            INTEGER NOT NULL,
    time           INTEGER NOT NULL,
    cid            TEXT    NOT NULL,
    action         TEXT    NOT NULL,
    outcome        TEXT    NOT NULL,
    reason         TEXT,
    actor_type     TEXT    NOT NULL,
    actor          TEXT,
    actor_session  BLOB,
    subject        TEXT,
    application    TEXT,
    remote_addr    TEXT,
    traceparent    TEXT,
    changes        TEXT,
    changes_salt   BLOB,
    changes_digest BLOB,
    hash           BLOB    NOT NULL,
    PRIMARY KEY (chain, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_events_by_time ON audit_events (time, chain, seq);
CREATE INDEX audit_events_by_cid ON audit_events (cid);
CREATE INDEX audit_events_by_actor ON audit_events (actor, time) WHERE actor IS NOT NULL;
CREATE INDEX audit_events_by_subject ON audit_events (subject, time) WHERE subject IS NOT NULL;

CREATE TABLE audit_chains (
    chain INTEGER NOT NULL PRIMARY KEY,
    seq   INTEGER NOT NULL,
    hash  BLOB    NOT NULL,
    mac   BLOB    NOT NULL
) STRICT;
