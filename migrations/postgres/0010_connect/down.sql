DELETE FROM counters WHERE name = 'search_version';
DROP TABLE user_order;
ALTER TABLE user_search DROP COLUMN is_person;
DROP INDEX group_members_in_order;
ALTER TABLE group_members DROP COLUMN position;
DROP INDEX groups_by_external_id;
ALTER TABLE groups DROP COLUMN external_id;
