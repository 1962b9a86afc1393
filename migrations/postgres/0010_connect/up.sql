-- Lists by page number, and the ids by which an identity provider knows groups.

ALTER TABLE groups ADD COLUMN external_id text;
CREATE UNIQUE INDEX groups_by_external_id ON groups (external_id) WHERE external_id IS NOT NULL;

-- Members in the order in which they were added; those of before come first.
ALTER TABLE group_members ADD COLUMN position bigint NOT NULL DEFAULT 0;
CREATE INDEX group_members_in_order ON group_members (group_id, position, user_id);

-- Whether a term is the username, the first or the last name.
ALTER TABLE user_search ADD COLUMN is_person boolean NOT NULL DEFAULT false;

-- Users in the order of first name, last name and username, all folded.
CREATE TABLE user_order (
    user_id  uuid NOT NULL PRIMARY KEY REFERENCES users (user_id) ON DELETE CASCADE,
    sort_key text COLLATE "C" NOT NULL
);
CREATE INDEX user_order_by_key ON user_order (sort_key, user_id);

-- SQL cannot fold names: what is derived from them is made anew where this is not the program's version.
INSERT INTO counters (name, value) VALUES ('search_version', 1);
