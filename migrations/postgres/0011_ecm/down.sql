DELETE FROM counters WHERE name = 'group_number';
DROP INDEX groups_by_number;
ALTER TABLE groups DROP COLUMN profile_id;
ALTER TABLE groups DROP COLUMN description;
ALTER TABLE groups DROP COLUMN number;
ALTER TABLE applications DROP COLUMN may_set_remote_addr;
