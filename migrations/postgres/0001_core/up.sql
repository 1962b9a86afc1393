-- The core: users and their names, groups, applications, sessions, lock-out, audit.
-- The two folders of migrations hold the same tables, columns and keys; a test compares them.
-- COLLATE "C" orders by bytes, as SQLite does: pages come in the same order on both.

-- What the attribute table in src/domain/user.rs stores, in its order.
CREATE TABLE users (
    user_id                  uuid        NOT NULL PRIMARY KEY,
    number                   bigint      NOT NULL UNIQUE,
    username                 text        NOT NULL,
    username_key             text        COLLATE "C" NOT NULL UNIQUE,
    login_name               text        NOT NULL,
    login_name_key           text        NOT NULL UNIQUE,
    external_id              text        UNIQUE,
    email                    text,
    display_name             text        NOT NULL,
    first_name               text,
    middle_name              text,
    last_name                text,
    is_totp_enabled          boolean     NOT NULL,
    totp_label               text,
    totp_secret              bytea,
    user_role                text        NOT NULL,
    lang_id                  bigint,
    login_time               timestamptz,
    login_station            text,
    is_active                boolean     NOT NULL,
    is_internal              boolean     NOT NULL,
    is_locked                boolean     NOT NULL,
    lock_cause               text,
    locked_time              timestamptz,
    locked_by                uuid,
    lock_reason              text,
    is_approval_needed       boolean     NOT NULL,
    approval_status          text        NOT NULL,
    approval_status_mod_by   uuid,
    approval_status_mod_time timestamptz,
    sign_up_status           text        NOT NULL,
    creation_ctx             text        NOT NULL,
    password_hash            text,
    password_must_change     boolean     NOT NULL,
    password_last_set        timestamptz,
    password_expiry          timestamptz,
    password_never_expires   boolean     NOT NULL,
    login_count              bigint      NOT NULL,
    failed_login_count       bigint      NOT NULL,
    valid_from               timestamptz,
    valid_to                 timestamptz,
    never_expire             boolean     NOT NULL,
    profile_id               bigint,
    supervisor_id            uuid        REFERENCES users (user_id) ON DELETE SET NULL,
    server_id                bigint,
    account_type             bigint      NOT NULL,
    flags                    bigint      NOT NULL,
    station                  text,
    remark                   text,
    created_time             timestamptz NOT NULL,
    updated_time             timestamptz NOT NULL,
    active_time              timestamptz
);

-- The names that sign in: usernames and login names share one space of names.
CREATE TABLE sign_in_names (
    name_key text NOT NULL PRIMARY KEY,
    user_id  uuid NOT NULL REFERENCES users (user_id) ON DELETE CASCADE
);
CREATE INDEX sign_in_names_by_user ON sign_in_names (user_id);
CREATE INDEX users_by_supervisor ON users (supervisor_id) WHERE supervisor_id IS NOT NULL;
CREATE INDEX users_super ON users (user_id) WHERE user_role = 'administrator';

-- What finds a user by the beginning of a name: the folded names (is_field) and the words in them and in the e-mail address.
CREATE TABLE user_search (
    term     text    COLLATE "C" NOT NULL,
    user_id  uuid    NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    is_field boolean NOT NULL,
    PRIMARY KEY (term, user_id)
);
CREATE INDEX user_search_by_user ON user_search (user_id, term);
CREATE INDEX users_by_email ON users (email) WHERE email IS NOT NULL;

CREATE TABLE groups (
    group_id uuid NOT NULL PRIMARY KEY,
    name     text NOT NULL,
    name_key text COLLATE "C" NOT NULL UNIQUE
);

CREATE TABLE group_members (
    group_id uuid NOT NULL REFERENCES groups (group_id) ON DELETE CASCADE,
    user_id  uuid NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    PRIMARY KEY (group_id, user_id)
);
CREATE INDEX group_members_by_user ON group_members (user_id);

CREATE TABLE applications (
    application_id  uuid        NOT NULL PRIMARY KEY,
    name            text        NOT NULL,
    name_key        text        NOT NULL UNIQUE,
    session_scope   text        NOT NULL,
    is_key_required boolean     NOT NULL,
    key_hash        bytea,
    created_time    timestamptz NOT NULL
);
-- The application of calls that name none.
INSERT INTO applications (application_id, name, name_key, session_scope, is_key_required, key_hash, created_time)
    VALUES ('00000000-0000-7000-8000-000000000000', 'default', 'default', 'shared', false, NULL, date_trunc('second', now()));

-- Of a token only the SHA-256.
CREATE TABLE sessions (
    session_id      uuid        NOT NULL PRIMARY KEY,
    token_hash      bytea       NOT NULL UNIQUE,
    user_id         uuid        NOT NULL REFERENCES users (user_id) ON DELETE CASCADE,
    application_id  uuid        NOT NULL REFERENCES applications (application_id) ON DELETE CASCADE,
    created_time    timestamptz NOT NULL,
    renewed_time    timestamptz,
    idle_expiry     timestamptz NOT NULL,
    absolute_expiry timestamptz NOT NULL,
    remote_addr     text,
    user_agent      text
);
CREATE INDEX sessions_by_user ON sessions (user_id, session_id);
CREATE INDEX sessions_by_application ON sessions (application_id);
CREATE INDEX sessions_by_end ON sessions (idle_expiry);

-- Failures, counted by a hash of what is counted; with the user, where an account is.
CREATE TABLE throttles (
    bucket        bytea       NOT NULL PRIMARY KEY,
    user_id       uuid,
    failures      bigint      NOT NULL,
    last_time     timestamptz NOT NULL,
    blocked_until timestamptz
);
CREATE INDEX throttles_by_user ON throttles (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX throttles_by_time ON throttles (last_time);

-- Rows that are locked to make something happen once at a time.
CREATE TABLE counters (
    name  text   NOT NULL PRIMARY KEY,
    value bigint NOT NULL
);
INSERT INTO counters (name, value) VALUES ('user_number', 0), ('super_users', 0), ('strangers', 0);

-- The audit trail: chains of events, each bound to the one before by its hash, and the head of each chain with its MAC.
CREATE TABLE audit_events (
    chain          bigint      NOT NULL,
    seq            bigint      NOT NULL,
    time           timestamptz NOT NULL,
    cid            text        NOT NULL,
    action         text        NOT NULL,
    outcome        text        NOT NULL,
    reason         text,
    actor_type     text        NOT NULL,
    actor          text,
    actor_session  uuid,
    subject        text,
    application    text,
    remote_addr    text,
    traceparent    text,
    changes        text,
    changes_salt   bytea,
    changes_digest bytea,
    hash           bytea       NOT NULL,
    PRIMARY KEY (chain, seq)
);
CREATE INDEX audit_events_by_time ON audit_events (time, chain, seq);
CREATE INDEX audit_events_by_cid ON audit_events (cid);
CREATE INDEX audit_events_by_actor ON audit_events (actor, time) WHERE actor IS NOT NULL;
CREATE INDEX audit_events_by_subject ON audit_events (subject, time) WHERE subject IS NOT NULL;

CREATE TABLE audit_chains (
    chain bigint NOT NULL PRIMARY KEY,
    seq   bigint NOT NULL,
    hash  bytea  NOT NULL,
    mac   bytea  NOT NULL
);
