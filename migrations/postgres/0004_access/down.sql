-- Takes everything back.
DROP TABLE api_keys;
ALTER TABLE users DROP COLUMN networks;
DROP TABLE application_groups;
ALTER TABLE applications DROP COLUMN allowed_networks;
ALTER TABLE applications DROP COLUMN allowed_roles;
ALTER TABLE applications DROP COLUMN access;
