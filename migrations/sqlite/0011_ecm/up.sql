-- What the ECM tells of its groups: a number in order of creation, a description, a profile. And applications that may tell from which
-- address their users come.

ALTER TABLE applications ADD COLUMN may_set_remote_addr INTEGER NOT NULL DEFAULT FALSE;

ALTER TABLE groups ADD COLUMN number      INTEGER NOT NULL DEFAULT 0;
ALTER TABLE groups ADD COLUMN description TEXT;
ALTER TABLE groups ADD COLUMN profile_id  INTEGER;
-- Ids are in order of creation.
UPDATE groups SET number = (SELECT count(*) FROM groups g WHERE g.group_id <= groups.group_id);
CREATE UNIQUE INDEX groups_by_number ON groups (number);
INSERT INTO counters (name, value) SELECT 'group_number', count(*) FROM groups;
